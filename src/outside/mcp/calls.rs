//! A call of a tool: from its first request to its result, over questions and tasks, which may take days and end on another worker.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::RequestMetaObject;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::connection::McpConnection;
use super::pending::{PendingRequest, RequestFailure, RequestOutcome};
use super::questions::OpenQuestions;
use super::requests::ConnectionQuestion;
use super::results::{error_text, value_of};
use super::server::{CallConnection, McpServer};
use super::waiting::{WaitingCall, WaitingCalls, WaitingTicket};
use super::words::NoAnswer;
use crate::config::McpRevision;
use crate::outside::toolset::{ElicitationAnswer, ToolsetAnswer, ToolsetCall, ToolsetError};
use crate::traces;

/// Rounds of questions that one call may have.
const MOST_ROUNDS: u32 = 50;
/// The longest state that a server may leave with us, in bytes.
const LARGEST_STATE: usize = 256 << 10;
/// When a server that wants to be asked again, and does not say when, is asked.
const ASKED_AGAIN: Duration = Duration::from_secs(1);
/// How soon, and how late, a task is looked at again, whatever its server says.
const POLL_BOUNDS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(300)];
/// How often in a row a task may not be found out about before the call fails.
const MOST_FAILED_POLLS: u32 = 10;
/// The name in a request's `_meta` of the key that stays the same over all attempts.
const CALL_KEY: &str = "fastagency.dev/call";

/// What a call goes on with.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
enum CallState {
    /// The server wants answers, and then the same request again.
    Rounds {
        /// What it wants to see again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_state: Option<String>,
        questions: OpenQuestions,
        round: u32,
        /// Whether the answers are sent; those about addresses only count here.
        sends_answers: bool,
    },
    /// The server is at work by itself.
    Task {
        id: String,
        /// What it asks, if it does.
        #[serde(default)]
        questions: OpenQuestions,
        /// The questions that were answered before.
        #[serde(default)]
        answered: Vec<String>,
        /// How often it could not be found out how it stands.
        #[serde(default)]
        failed: u32,
    },
    /// A connection of this process waits for the answer.
    Waiting(WaitingTicket),
}

/// A call, and what it needs.
pub(super) struct ServerCall<'c> {
    /// The server.
    pub(super) server: &'c Arc<McpServer>,
    /// The call.
    pub(super) call: ToolsetCall<'c>,
    /// The calls of this process that wait for people.
    pub(super) waiting: &'c WaitingCalls,
}

impl ServerCall<'_> {
    /// Makes the call, or goes on with it.
    pub(super) async fn make(&self) -> Result<ToolsetAnswer, ToolsetError> {
        self.made().await.map_err(|error| self.with_revision_to_set(error))
    }

    /// The error, with what to write where the server cannot ask people in the revision of the protocol that is spoken.
    fn with_revision_to_set(&self, error: ToolsetError) -> ToolsetError {
        if !cannot_ask(&error.to_string()) || self.server.opener.config.protocol == Some(McpRevision::Session) {
            return error;
        }
        let name = &self.server.opener.name;
        let repair = format!("in fastagency.yaml: mcp: {{ {name}: {{ protocol: \"2025-11-25\" }} }}");
        tracing::warn!(
            mcp.server = %name,
            "{name} cannot ask people in the revision 2026-07-28 of the protocol, so the tool {} failed; write {repair}",
            self.call.tool
        );
        error.map_words(|words| {
            format!(
                "{}. The MCP server {name} asks people only in an older revision of the protocol: write {repair}",
                words.trim_end_matches('.')
            )
        })
    }

    async fn made(&self) -> Result<ToolsetAnswer, ToolsetError> {
        let Some(resumed) = self.call.resumed else { return self.request(None).await };
        let state = crate::bounds::from_value(resumed.state.clone())
            .map_err(|_| ToolsetError::Lost("what the call goes on with cannot be read".to_owned()))?;
        match (state, resumed.answer.as_ref()) {
            (CallState::Waiting(ticket), answer) => {
                self.answer_waiting(ticket, answer.unwrap_or(&ElicitationAnswer::Cancel)).await
            }
            (CallState::Rounds { request_state, mut questions, round, sends_answers }, answer) => {
                if let Some(answer) = answer {
                    questions.answer(answer);
                }
                if !sends_answers && !matches!(answer, Some(ElicitationAnswer::Accept { .. })) {
                    return Err(ToolsetError::Failed(
                        "the person did not open the address that the tool needs".to_owned(),
                    ));
                }
                let state = CallState::Rounds { request_state, questions, round, sends_answers };
                match self.next_question(&state) {
                    Some(asks) => Ok(asks),
                    None => self.request(Some(state)).await,
                }
            }
            (CallState::Task { id, mut questions, answered, failed }, answer) => {
                if let Some(answer) = answer {
                    questions.answer(answer);
                }
                self.look_at_task(id, questions, answered, failed).await
            }
        }
    }

    /// The next question of a round; none: all are answered.
    fn next_question(&self, state: &CallState) -> Option<ToolsetAnswer> {
        let CallState::Rounds { questions, .. } = state else { return None };
        questions.next().map(|question| self.asks(&question.message, &question.schema, state))
    }

    /// Sends the request.
    async fn request(&self, state: Option<CallState>) -> Result<ToolsetAnswer, ToolsetError> {
        let name = &self.server.opener.name;
        let deadline = Instant::now() + self.server.opener.config.total;
        let room = tokio::time::timeout_at(deadline, self.server.room.acquire()).await;
        let Ok(_room) = room else {
            return Err(ToolsetError::TimedOut(format!("too many calls of the MCP server {name} were under way")));
        };
        let outcome = match self.attempt(state.as_ref(), deadline).await {
            // It was not even begun: once again, over a new connection.
            Err(RequestFailure::NotSent) => self.attempt(state.as_ref(), deadline).await,
            outcome => outcome,
        };
        let round = match &state {
            Some(CallState::Rounds { round, .. }) => *round,
            _ => 0,
        };
        match outcome {
            Ok(outcome) => self.take(outcome, round),
            Err(RequestFailure::NoAnswer(NoAnswer::AddressesFirst(addresses))) => {
                self.check_round(round)?;
                let questions = OpenQuestions::of_addresses(&addresses, self.server.opener.secrets.hidden_texts())
                    .map_err(|why| self.failed(&why))?;
                let (request_state, sends_answers) = (None, false);
                let state = CallState::Rounds { request_state, questions, round: round + 1, sends_answers };
                self.next_question(&state).ok_or_else(|| NoAnswer::AddressesFirst(addresses).of_call(name))
            }
            Err(RequestFailure::NoAnswer(why)) => Err(why.of_call(name)),
            Err(RequestFailure::NotSent) => {
                Err(NoAnswer::Refused("its connection is lost again and again".to_owned()).of_call(name))
            }
            Err(RequestFailure::Final(error)) => Err(error),
        }
    }

    /// One attempt to send the request and to hear what comes of it.
    async fn attempt(&self, state: Option<&CallState>, deadline: Instant) -> Result<RequestOutcome, RequestFailure> {
        let server = self.server;
        let on = server.connection_for_call().await.map_err(RequestFailure::Final)?;
        let tool = self.tool_name(&on).await?;
        let params = self.params(&tool, state);
        let sent = on.connection.send("tools/call", params, self.meta()).await;
        let sent = match sent {
            Ok(sent) => sent,
            Err(_) => {
                server.forget(&on.connection).await;
                return Err(RequestFailure::NotSent);
            }
        };
        let connection = on.connection.clone();
        let pending = PendingRequest::new(sent, on, server.clone());
        match pending.wait(self.idle(), deadline).await {
            Err(RequestFailure::NoAnswer(NoAnswer::SessionGone(_))) => {
                server.forget(&connection).await;
                Err(RequestFailure::NotSent)
            }
            outcome => {
                if matches!(outcome, Err(RequestFailure::Final(ToolsetError::TimedOut(_)))) {
                    server.check_life(&connection);
                }
                outcome
            }
        }
    }

    /// The name that the server knows the tool by.
    async fn tool_name(&self, on: &CallConnection) -> Result<String, RequestFailure> {
        let (server, name) = (self.server, self.call.tool);
        let lost = |why: NoAnswer| match why {
            NoAnswer::SessionGone(_) => RequestFailure::NotSent,
            why => RequestFailure::Final(why.of_opening(&server.opener.name)),
        };
        let mut known = server.tools_for_call(&on.connection).await;
        if known.as_ref().is_ok_and(|known| known.get(name).is_none()) {
            known = server.list(&on.connection).await;
        }
        if matches!(known, Err(NoAnswer::SessionGone(_))) || known.is_err() && on.connection.is_over() {
            server.forget(&on.connection).await;
            return Err(RequestFailure::NotSent);
        }
        let allowed = |own_name: &str| {
            let only = &server.opener.config.only;
            only.is_empty() || only.iter().any(|allowed| allowed == own_name || allowed == name)
        };
        match known.map_err(lost)?.get(name) {
            // The list of a run that began earlier may be longer than what is allowed now.
            Some(tool) if !allowed(&tool.own_name) => Err(RequestFailure::Final(ToolsetError::Unavailable(format!(
                "workflows may not call the tool {name} of the MCP server {0} (fastagency.yaml: mcp.{0}.only)",
                server.opener.name
            )))),
            Some(tool) => Ok(tool.own_name.clone()),
            None => Err(RequestFailure::Final(ToolsetError::Unavailable(format!(
                "the MCP server {} has no tool {name} any more",
                server.opener.name
            )))),
        }
    }

    fn params(&self, tool: &str, state: Option<&CallState>) -> Value {
        let mut params = Map::new();
        params.insert("name".to_owned(), tool.into());
        params.insert("arguments".to_owned(), Value::Object(self.call.arguments.clone()));
        if let Some(CallState::Rounds { request_state, questions, sends_answers: true, .. }) = state {
            if !questions.answers().is_empty() {
                params.insert("inputResponses".to_owned(), Value::Object(questions.answers().clone()));
            }
            if let Some(request_state) = request_state {
                params.insert("requestState".to_owned(), request_state.as_str().into());
            }
        }
        Value::Object(params)
    }

    fn meta(&self) -> RequestMetaObject {
        let mut meta = RequestMetaObject::default();
        meta.insert(CALL_KEY.to_owned(), self.call.key.into());
        if let Some(place) = traces::current() {
            meta.set_traceparent(place);
        }
        meta
    }

    /// What comes of a request that was answered, or that asks.
    fn take(&self, outcome: RequestOutcome, round: u32) -> Result<ToolsetAnswer, ToolsetError> {
        let mut result = match outcome {
            RequestOutcome::Asked(pending, asked) => return self.park(*pending, asked),
            RequestOutcome::Answered(result) => result,
        };
        match result["resultType"].as_str() {
            Some("input_required") => self.questions_of(&mut result, round),
            Some("task") => {
                let after = poll_pause(&result);
                let id = result["taskId"].as_str().ok_or_else(|| self.failed("its task has no id"))?.to_owned();
                let state =
                    CallState::Task { id, questions: OpenQuestions::default(), answered: Vec::new(), failed: 0 };
                Ok(continues(&state, after))
            }
            _ => value_of(&result, self.call.max_result, &self.server.opener.secrets).map(ToolsetAnswer::Value),
        }
    }

    /// The questions of a result that is none yet.
    fn questions_of(&self, result: &mut Value, round: u32) -> Result<ToolsetAnswer, ToolsetError> {
        self.check_round(round)?;
        let request_state = match result["requestState"].take() {
            Value::String(state) if state.len() <= LARGEST_STATE => Some(state),
            Value::Null => None,
            _ => return Err(self.failed("it leaves a state that cannot be kept")),
        };
        let questions = OpenQuestions::read(&result["inputRequests"], &[], self.server.opener.secrets.hidden_texts())
            .map_err(|why| self.failed(&why))?;
        let state = CallState::Rounds { request_state, questions, round: round + 1, sends_answers: true };
        Ok(self.next_question(&state).unwrap_or_else(|| continues(&state, ASKED_AGAIN)))
    }

    fn check_round(&self, round: u32) -> Result<(), ToolsetError> {
        match round < MOST_ROUNDS {
            true => Ok(()),
            false => Err(self.failed(&format!("it asks more than {MOST_ROUNDS} times"))),
        }
    }

    /// Puts a call aside that waits for a person on its connection.
    fn park(&self, pending: PendingRequest, asked: ConnectionQuestion) -> Result<ToolsetAnswer, ToolsetError> {
        let ConnectionQuestion { question, reply } = asked;
        let ticket = self.waiting.put(WaitingCall { pending, reply });
        let ticket = ticket.ok_or_else(|| self.failed("too many calls of this worker wait for people"))?;
        Ok(self.asks(&question.message, &question.schema, &CallState::Waiting(ticket)))
    }

    /// Gives an answer to a connection that waits for it, and goes on listening.
    async fn answer_waiting(
        &self,
        ticket: WaitingTicket,
        answer: &ElicitationAnswer,
    ) -> Result<ToolsetAnswer, ToolsetError> {
        let name = &self.server.opener.name;
        let Some(WaitingCall { pending, reply }) = self.waiting.take(&ticket) else {
            return Ok(ToolsetAnswer::CutOff {
                why: format!(
                    "the MCP server {name} asked on a connection that is gone, so nobody knows what became of the call"
                ),
            });
        };
        // If nobody takes it, the connection is gone, and the wait says so.
        let _ = reply.send(answer.clone());
        let deadline = Instant::now() + self.server.opener.config.total;
        match pending.wait(self.idle(), deadline).await {
            Ok(outcome) => self.take(outcome, 0),
            Err(RequestFailure::NoAnswer(why)) => Err(why.of_call(name)),
            Err(RequestFailure::NotSent) => Err(NoAnswer::Lost("its session is over".to_owned()).of_call(name)),
            Err(RequestFailure::Final(error)) => Err(error),
        }
    }

    /// Looks how a task stands, or answers what it asks.
    async fn look_at_task(
        &self,
        id: String,
        questions: OpenQuestions,
        mut answered: Vec<String>,
        failed: u32,
    ) -> Result<ToolsetAnswer, ToolsetError> {
        if let Some(question) = questions.next() {
            let (message, schema) = (question.message.clone(), question.schema.clone());
            return Ok(self.asks(&message, &schema, &CallState::Task { id, questions, answered, failed }));
        }
        let looked = async {
            let connection = self.server.connection().await.map_err(|error| (error, true))?;
            let looked = self.ask_of_task(&connection, &id, &questions).await;
            if matches!(looked, Err(NoAnswer::SessionGone(_))) {
                self.server.forget(&connection).await;
            }
            looked.map_err(|why| {
                let will_pass = !matches!(why, NoAnswer::Failed(_));
                (why.of_call(&self.server.opener.name), will_pass)
            })
        };
        match looked.await {
            Ok(task) => {
                answered.extend(questions.answers().keys().cloned());
                self.take_task(id, answered, &task)
            }
            Err((_, true)) if failed < MOST_FAILED_POLLS => {
                let after = ASKED_AGAIN * 2_u32.pow(failed.min(8));
                let state = CallState::Task { id, questions, answered, failed: failed + 1 };
                Ok(continues(&state, after.min(POLL_BOUNDS[1])))
            }
            Err((error, _)) => Err(error),
        }
    }

    /// Gives a task the answers that it wants, and asks how it stands.
    async fn ask_of_task(
        &self,
        connection: &McpConnection,
        id: &str,
        questions: &OpenQuestions,
    ) -> Result<Value, NoAnswer> {
        if !questions.answers().is_empty() {
            let answers = json!({"taskId": id, "inputResponses": questions.answers()});
            self.server.ask(connection, "tasks/update", answers).await?;
        }
        self.server.ask(connection, "tasks/get", json!({"taskId": id})).await
    }

    /// What comes of how a task stands.
    fn take_task(&self, id: String, answered: Vec<String>, task: &Value) -> Result<ToolsetAnswer, ToolsetError> {
        let after = poll_pause(task);
        let working =
            |answered| CallState::Task { id: id.clone(), questions: OpenQuestions::default(), answered, failed: 0 };
        match task["status"].as_str().unwrap_or_default() {
            "working" => Ok(continues(&working(answered), after)),
            "input_required" => {
                let questions =
                    OpenQuestions::read(&task["inputRequests"], &answered, self.server.opener.secrets.hidden_texts())
                        .map_err(|why| self.failed(&why))?;
                let Some(question) = questions.next().cloned() else {
                    return Ok(continues(&working(answered), after));
                };
                let state = CallState::Task { id, questions, answered, failed: 0 };
                Ok(self.asks(&question.message, &question.schema, &state))
            }
            "completed" => {
                value_of(&task["result"], self.call.max_result, &self.server.opener.secrets).map(ToolsetAnswer::Value)
            }
            "cancelled" => Err(self.failed("its task was cancelled there")),
            _ => {
                let said = task["error"]["message"].as_str().unwrap_or("its task failed, and it says no more");
                Err(ToolsetError::Failed(error_text(said, &self.server.opener.secrets)))
            }
        }
    }

    fn asks(&self, message: &str, schema: &Value, state: &CallState) -> ToolsetAnswer {
        let secrets = &self.server.opener.secrets;
        ToolsetAnswer::Asks {
            message: secrets.hidden(&format!("{} asks: {message}", self.server.opener.name)),
            schema: schema.clone(),
            state: json(state),
        }
    }

    fn failed(&self, why: &str) -> ToolsetError {
        ToolsetError::Failed(format!("the MCP server {} cannot go on: {why}", self.server.opener.name))
    }

    fn idle(&self) -> Duration {
        self.call.within.min(self.server.opener.config.timeout)
    }
}

/// Whether a server says that it could not ask a person: that of the Python SDK asks in a session alone.
fn cannot_ask(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    words.contains("elicitation/create") && (words.contains("back-channel") || words.contains("back channel"))
}

fn json(state: &CallState) -> Value {
    serde_json::to_value(state).expect("a state is JSON")
}

fn continues(state: &CallState, after: Duration) -> ToolsetAnswer {
    let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    // A task is looked at; a round is the call, made again.
    let only_looks = matches!(state, CallState::Task { .. });
    ToolsetAnswer::Continues { state: json(state), after_ms, only_looks }
}

/// When a task is looked at again.
fn poll_pause(task: &Value) -> Duration {
    let wanted = task["pollIntervalMs"].as_u64().or_else(|| task["pollInterval"].as_u64());
    wanted.map_or(ASKED_AGAIN, Duration::from_millis).clamp(POLL_BOUNDS[0], POLL_BOUNDS[1])
}
