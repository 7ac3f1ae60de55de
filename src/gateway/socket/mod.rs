//! FastAgency's WebSocket (`docs/reference/fastagency-wire.md`, section 3): one conversation per socket. The first frame
//! says which run; then the run's messages go out, and the n-th text frame of the client answers the n-th question that
//! it was sent.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{WebSocketUpgrade, close_code};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::time::Instant;

use crate::auth::Caller;
use crate::broker;
use crate::clock::ExponentialBackoff;
use crate::fastagency::frames::{self, ClientFrame, SentQuestion};
use crate::gateway::answers;
use crate::gateway::error::ApiError;
use crate::gateway::run_start::{StartError, StartRequest, begin};
use crate::gateway::{GatewayState, body, fastagency, sessions};
use crate::ids::{MessageId, RunId, UserId};
use crate::message::late::{CountedAnswer, LateAnswer};
use crate::message::{Message, MessageContent, check_text_answer};
use crate::metrics::{Tier, metrics};
use crate::protocol::log::{LogEntry, RecordBody, RunCreation};
use crate::run::answer::{AnswerAcceptance, AnswerPayload};
use crate::run::attach::{AttachedFollower, FollowedEvent, attach};
use crate::run::run_ref::RunRef;
use crate::run::{self};
use crate::serving::ConnectionSlot;
use crate::traces::TraceSpan;

mod client;
mod init;

use client::{CloseReason, ReceivedFrame, SocketClient, nobody};
pub use init::reads_first_frame;
use init::{InitError, InitFrame, parse};

/// The largest frame that is read: what a client may start a run with. What can be stored is half of it; JSON may write it longer.
const LARGEST_FRAME: usize = body::LARGEST_BODY;
/// Read at once. With the default of 128 KiB ten thousand open sockets would hold more than a gigabyte.
const READ_BUFFER: usize = 1024;
/// Frames that came before their question was asked. A client that sends more does not speak this protocol.
const MOST_EARLY: usize = 16;
/// The bytes of those frames together: answers that people type ahead are short.
const MOST_EARLY_BYTES: usize = 64 * 1024;
/// An approval is asked no sooner after a text of the client, so that the second click of a double click comes before it.
const DOUBLE_CLICK: Duration = Duration::from_millis(500);
/// How long what was sent may be on its way here.
const ON_ITS_WAY: Duration = Duration::from_millis(20);
/// Why an answer that came before its approval does not count.
const TOO_EARLY: &str = "that came before this was asked, and allows nothing: look at the call and answer again";
/// The pauses between two tries while the broker is away.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// `GET /fastagency/ws`.
pub async fn open(
    State(gateway): State<Arc<GatewayState>>,
    caller: Caller,
    place: Option<Extension<Arc<ConnectionSlot>>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Ok(upgrade) = upgrade else {
        return fastagency::detail(StatusCode::NOT_FOUND, json!("Not Found"));
    };
    let held = match gateway.limits.socket(&caller) {
        Ok(held) => held,
        Err(refused) => return ApiError::from(refused).into_response(),
    };
    let place = place.map(|Extension(place)| place);
    if let Some(place) = &place
        && let Some(share) = gateway.limits.uploads(&caller)
    {
        place.counts_for(share);
    }
    let shutdown = gateway.shutdown.clone();
    // What is begun through the socket belongs under the request that opened it.
    let span = TraceSpan::current();
    upgrade
        .read_buffer_size(READ_BUFFER)
        // Frames are flushed one by one; nothing is gathered.
        .write_buffer_size(0)
        .max_message_size(LARGEST_FRAME)
        .max_frame_size(LARGEST_FRAME)
        .on_upgrade(move |socket| {
            let mut client = SocketClient::new(socket, place);
            let open = metrics().socket(Tier::gateway);
            let over = sessions::over(&gateway, &caller).unwrap_or_else(|| Box::pin(std::future::pending()));
            let conversation = async move {
                let (_held, _open) = (held, open);
                let farewell = tokio::select! {
                    farewell = span.instrument(converse(&gateway, caller, &mut client)) => farewell,
                    why = over => CloseReason::Refused(close_code::POLICY, why),
                };
                Box::pin(client.close(farewell)).await;
            };
            shutdown.track(conversation)
        })
}

/// The whole conversation.
async fn converse(gateway: &Arc<GatewayState>, caller: Caller, client: &mut SocketClient) -> CloseReason {
    let text = match client.first_frame(gateway).await {
        Ok(text) => text,
        Err(farewell) => return farewell,
    };
    let init = match parse(&text) {
        Ok(init) => init,
        Err(InitError { code, what }) => {
            return client.refuse(nobody(), what, code, "bad first frame").await;
        }
    };
    drop(text);
    let run = init.run;
    let groups = caller.groups.clone();
    let (user, access_token) = (caller.user.clone(), caller.access_token.clone());
    let counted = Caller { user, groups, access_token, address: caller.address, ..Caller::default() };
    let counted = Box::new(counted);
    // Boxed, as are the other steps that pass: ten thousand open sockets hold only what they wait with.
    let target = match Box::pin(enter(gateway, init, caller)).await {
        Ok(created) => RunRef::of(run, &created),
        Err(EntryRefusal::Unknown(frame)) => {
            client.send(frame).await;
            return client.linger(gateway, |_| None).await;
        }
        Err(EntryRefusal::Refused(what)) => return client.refuse(run, what, close_code::POLICY, "refused").await,
        Err(EntryRefusal::Failed(what)) => return client.refuse(run, what, close_code::AGAIN, "try again later").await,
    };
    let mut conversation = SocketConversation {
        gateway,
        target,
        caller: counted,
        client,
        asked: VecDeque::new(),
        answered: HashMap::new(),
        withheld: Vec::new(),
        early: VecDeque::new(),
        last: 0,
        replayed: false,
        heard_at: None,
    };
    conversation.go_on().await
}

/// Why a client does not get its run.
enum EntryRefusal {
    /// There is no such workflow: told as FastAgency's worker tells it, in this frame.
    Unknown(String),
    /// It is not for this client, or not like this.
    Refused(String),
    /// It does not work now.
    Failed(String),
}

/// Starts the run, or finds the one that is there: then it must be the same workflow of the same user.
async fn enter(gateway: &GatewayState, init: InitFrame, caller: Caller) -> Result<RunCreation, EntryRefusal> {
    let InitFrame { run, name, params } = init;
    let wanted = StartRequest { run, workflow: &name, params, caller: &caller };
    let created = match begin(gateway, wanted).await {
        Ok(begun) => begun.created,
        Err(StartError::UnknownWorkflow { similar, .. }) => {
            // Its workflow may be gone while the run is still there to be read. Whether there is a run of somebody else is
            // not told.
            let is_same = |created: &RunCreation| created.workflow.as_str() == name && created.user == caller.user;
            match existing(gateway, run).await.map_err(failed)?.filter(is_same) {
                Some(created) => created,
                None => return Err(EntryRefusal::Unknown(unknown_workflow(run, &name, similar))),
            }
        }
        Err(StartError::TooMany(refused)) => return Err(EntryRefusal::Refused(refused.to_string())),
        Err(StartError::InvalidParams { problems }) => {
            return Err(EntryRefusal::Refused(format!("params: {problems}")));
        }
        Err(StartError::Run(run::Error::Unknown { run })) => return Err(taken(run)),
        Err(StartError::Run(run::Error::Unstorable { source, .. })) => {
            return Err(EntryRefusal::Refused(source.to_string()));
        }
        Err(StartError::Run(run::Error::Broker(broker::Error::TooLarge { .. }))) => {
            return Err(EntryRefusal::Refused("params: are larger than what can be stored".to_owned()));
        }
        Err(StartError::Run(error)) => return Err(failed(error)),
    };
    if created.workflow.as_str() != name || created.user != caller.user {
        return Err(taken(run));
    }
    Ok(created)
}

/// The same words for the run of somebody else, one of another workflow, and one that was removed.
fn taken(run: RunId) -> EntryRefusal {
    EntryRefusal::Refused(format!("workflow_uuid: {} belongs to another conversation; start a new one", run.dashed()))
}

async fn existing(gateway: &GatewayState, run: RunId) -> run::Result<Option<RunCreation>> {
    run::created(&gateway.broker, run).await
}

fn failed(error: run::Error) -> EntryRefusal {
    let error = ApiError::from(error);
    EntryRefusal::Failed(error.message().to_owned())
}

/// The words of FastAgency's worker for a name that it does not have: Python's text of a `KeyError`.
fn unknown_workflow(run: RunId, name: &str, similar: Option<String>) -> String {
    let shown: String = name.chars().take(200).collect();
    let hint = similar.map(|name| format!("; did you mean '{name}'?")).unwrap_or_default();
    let short = format!("Unexpected error: '{shown}'");
    frames::error(run, "NatsAdapter", short, format!("there is no workflow named '{shown}'{hint}")).text
}

/// A conversation with a client that has its run.
struct SocketConversation<'a> {
    gateway: &'a Arc<GatewayState>,
    target: RunRef,
    /// Who sends: for what is counted, and who may answer.
    caller: Box<Caller>,
    client: &'a mut SocketClient,
    /// The questions that the client was sent and has not answered, the oldest first.
    asked: VecDeque<SentQuestion>,
    /// Questions of those that were answered from elsewhere, and how: the client's answer is no longer wanted, but still counted.
    answered: HashMap<MessageId, CountedAnswer>,
    /// Open questions that are for others.
    withheld: Vec<Message>,
    /// Answers that came before their question: copies, as a frame may be a small part of what was read at once.
    early: VecDeque<Box<str>>,
    /// The sequence of the last record that was sent.
    last: u64,
    /// The history was sent.
    replayed: bool,
    /// When the client last sent a text.
    heard_at: Option<Instant>,
}

impl SocketConversation<'_> {
    async fn go_on(&mut self) -> CloseReason {
        let mut backoff = ExponentialBackoff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
        loop {
            let began = Instant::now();
            let outcome = match Box::pin(attach(&self.gateway.broker, self.target.run, self.last)).await {
                Ok(mut attached) => self.follow(&mut attached).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(farewell) => return farewell,
                // The broker is away: what the client was sent stands, and the rest is read when it is back.
                Err(run::Error::Broker(error)) => tracing::debug!(run.id = %self.target.run, "a socket waits: {error}"),
                Err(error) => {
                    tracing::error!(run.id = %self.target.run, "a run cannot be shown: {error}");
                    let what = "the run cannot be read".to_owned();
                    return self.client.refuse(self.target.run, what, close_code::ERROR, "internal error").await;
                }
            }
            if began.elapsed() > LONGEST_PAUSE {
                backoff = ExponentialBackoff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
            }
            tokio::select! {
                () = self.gateway.shutdown.soft() => return CloseReason::Restart,
                () = backoff.pause() => {}
            }
        }
    }

    async fn follow(&mut self, attached: &mut AttachedFollower) -> run::Result<CloseReason> {
        let mut history = Vec::new();
        // Until it is replayed.
        let mut held = Some(attached.held());
        loop {
            tokio::select! {
                () = self.gateway.shutdown.soft() => return Ok(CloseReason::Restart),
                seen = attached.next() => match seen? {
                    Some(FollowedEvent::Record(placed)) if !self.replayed => history.push(*placed),
                    Some(FollowedEvent::Record(placed)) => {
                        if let Some(farewell) = Box::pin(self.show(&placed)).await? {
                            return Ok(farewell);
                        }
                    }
                    Some(FollowedEvent::CaughtUp { .. }) => {
                        if !self.replayed && let Some(farewell) = Box::pin(self.replay(std::mem::take(&mut history))).await? {
                            return Ok(farewell);
                        }
                        held.take();
                    }
                    Some(FollowedEvent::Delta(_)) => {}
                    None => return Ok(self.linger().await),
                },
                heard = self.client.hear() => {
                    if let Some(farewell) = Box::pin(self.take(heard)).await? {
                        return Ok(farewell);
                    }
                }
            }
        }
    }

    async fn replay(&mut self, history: Vec<LogEntry>) -> run::Result<Option<CloseReason>> {
        self.replayed = true;
        if history.iter().any(|placed| matches!(placed.record.body, RecordBody::Removed(_))) {
            let what = "the run was removed".to_owned();
            return Ok(Some(self.client.refuse(self.target.run, what, close_code::POLICY, "removed").await));
        }
        let (caller, starter) = (&self.caller, self.target.user.as_ref());
        let may_answer =
            |question: &Message, escalated| answers::refusal(question, caller, starter, escalated).is_none();
        let redactor = &self.gateway.settings.redactor;
        for frame in frames::replay(self.target.run, &history, redactor, &may_answer) {
            if let Some(farewell) = self.send(frame).await? {
                return Ok(Some(farewell));
            }
        }
        self.last = history.last().map_or(0, |placed| placed.seq);
        Ok(None)
    }

    async fn show(&mut self, placed: &LogEntry) -> run::Result<Option<CloseReason>> {
        if let Some(answer) = frames::answer(placed) {
            if self.asked.iter().any(|asked| asked.message.uuid == answer.question) {
                self.answered.insert(answer.question, answer.into());
            }
            self.withheld.retain(|asked| asked.uuid != answer.question);
        }
        self.last = placed.seq;
        self.gateway.unclaimed.saw(self.target.run, placed);
        self.gateway.recent_ends.saw(self.target.run, placed);
        let (caller, starter) = (&self.caller, self.target.user.as_ref());
        let may_answer =
            |question: &Message, escalated| answers::refusal(question, caller, starter, escalated).is_none();
        let redactor = &self.gateway.settings.redactor;
        let frame = match frames::escalated(placed) {
            None => frames::live(self.target.run, placed, redactor, &may_answer),
            Some((question, escalated)) => {
                // The client saw it; now it may answer.
                let is_theirs = |asked: &Message| asked.uuid == question && may_answer(asked, escalated);
                let place = self.withheld.iter().position(is_theirs);
                place.map(|place| ClientFrame::asks(self.target.run, &self.withheld.swap_remove(place), redactor))
            }
        };
        match frame {
            Some(frame) => self.send(frame).await,
            None => Ok(None),
        }
    }

    /// Sends a frame; if it asks and the client has answered already, gives the answer. A call is allowed by nobody who has not
    /// seen it: what came before does not answer an approval.
    async fn send(&mut self, frame: ClientFrame) -> run::Result<Option<CloseReason>> {
        let is_approval =
            frame.asks.as_ref().is_some_and(|asked| matches!(asked.message.says, MessageContent::Approval(_)));
        if is_approval && let Some(farewell) = Box::pin(self.take_what_came()).await? {
            return Ok(Some(farewell));
        }
        if !self.client.send(frame.text).await {
            return Ok(Some(CloseReason::Gone));
        }
        self.withheld.extend(frame.withholds.map(|asked| *asked));
        let Some(asked) = frame.asks else { return Ok(None) };
        self.asked.push_back(asked);
        match self.early.pop_front() {
            Some(_) if is_approval => {
                let asked = self.asked.pop_back().expect("it was put there");
                self.ask_again(asked, TOO_EARLY.to_owned()).await
            }
            Some(text) => self.heard(&text).await,
            None => Ok(None),
        }
    }

    /// Takes what the client has sent and was not read yet, the second click of a double click among it.
    async fn take_what_came(&mut self) -> run::Result<Option<CloseReason>> {
        let now = Instant::now();
        let until = self.heard_at.map_or(now, |heard| heard + DOUBLE_CLICK).max(now + ON_ITS_WAY);
        while let Ok(heard) = tokio::time::timeout_at(until, self.client.hear()).await {
            if let Some(farewell) = Box::pin(self.take(heard)).await? {
                return Ok(Some(farewell));
            }
        }
        Ok(None)
    }

    async fn take(&mut self, heard: ReceivedFrame) -> run::Result<Option<CloseReason>> {
        match heard {
            ReceivedFrame::Text(text) => {
                self.heard_at = Some(Instant::now());
                self.heard(&text).await
            }
            ReceivedFrame::Nothing => Ok(None),
            ReceivedFrame::Binary => {
                let what = "an answer must be a text frame".to_owned();
                Ok(Some(self.client.refuse(self.target.run, what, close_code::UNSUPPORTED, "text only").await))
            }
            ReceivedFrame::End(farewell) => Ok(Some(farewell)),
        }
    }

    /// Takes a text frame: the answer to the oldest question, or one that comes before its question.
    async fn heard(&mut self, text: &str) -> run::Result<Option<CloseReason>> {
        let Some(asked) = self.asked.pop_front() else {
            let bytes = self.early.iter().map(|early| early.len()).sum::<usize>() + text.len();
            if self.early.len() < MOST_EARLY && bytes <= MOST_EARLY_BYTES {
                self.early.push_back(text.into());
                return Ok(None);
            }
            let what = match bytes > MOST_EARLY_BYTES {
                true => format!(
                    "{bytes} bytes came although nothing was asked; {} KiB may come early",
                    MOST_EARLY_BYTES / 1024
                ),
                false => format!("{} frames came although nothing was asked", MOST_EARLY + 1),
            };
            return Ok(Some(self.client.refuse(self.target.run, what, close_code::POLICY, "too many frames").await));
        };
        if let Some(first) = self.answered.remove(&asked.message.uuid) {
            return Ok(self.tell_late(&asked, text, &first).await);
        }
        // Anything else is checked by the worker, which asks again; of a password it sees no more than that there is one.
        if asked.message.says.is_secret()
            && let Err(problem) = check_text_answer(&asked.message.says, text)
        {
            return self.ask_again(asked, problem).await;
        }
        let answer = AnswerPayload::Text(text.to_owned());
        if let Err(refused) = self.gateway.limits.bytes(&self.caller, &answer) {
            return self.ask_again(asked, refused.to_string()).await;
        }
        match self.give(&asked, answer).await {
            Ok(None) => Ok(None),
            Ok(Some(first)) => Ok(self.tell_late(&asked, text, &first).await),
            Err(run::Error::Broker(broker::Error::TooLarge { max, .. })) => {
                self.ask_again(asked, format!("the answer is larger than what can be stored ({max} bytes)")).await
            }
            Err(run::Error::Unstorable { source, .. }) => self.ask_again(asked, source.to_string()).await,
            Err(error) => Err(error),
        }
    }

    /// Tells the client what is wrong with its answer and asks it again: it is owed a question for each answer.
    async fn ask_again(&mut self, asked: SentQuestion, problem: String) -> run::Result<Option<CloseReason>> {
        let error = frames::error(self.target.run, "Gateway", problem.clone(), problem);
        let again = frames::asking_text(self.target.run, &asked.message, &self.gateway.settings.redactor);
        self.asked.push_front(asked);
        let heard = self.client.send(error.text).await && self.client.send(again).await;
        Ok((!heard).then_some(CloseReason::Gone))
    }

    /// Tells the client that somebody else was first, and what it had written. What follows from the answer that counts it sees.
    async fn tell_late(&mut self, asked: &SentQuestion, text: &str, first: &CountedAnswer) -> Option<CloseReason> {
        let late = LateAnswer::typed(&asked.message.says, text);
        let reader = self.caller.user.as_ref().map(UserId::as_str);
        let frame =
            frames::error(self.target.run, "Gateway", late.sentence(first, reader), late.in_words(first, reader));
        (!self.client.send(frame.text).await).then_some(CloseReason::Gone)
    }

    /// Stays open after the end of the run. An answer to a question that was open then is told that it comes too late.
    fn linger(&mut self) -> BoxFuture<'_, CloseReason> {
        let (run, asked, answered) = (self.target.run, &mut self.asked, &mut self.answered);
        let reader = self.caller.user.as_ref().map(UserId::as_str);
        self.client.linger(self.gateway, move |text| {
            let asked = asked.pop_front()?;
            let late = LateAnswer::typed(&asked.message.says, text);
            let (short, long) = match answered.remove(&asked.message.uuid) {
                Some(first) => (late.sentence(&first, reader), late.in_words(&first, reader)),
                None => (late.sentence_after_the_end(), late.after_the_end()),
            };
            Some(frames::error(run, "Gateway", short, long).text)
        })
    }

    /// Gives an answer to the run; returns the one that counts if somebody else was first. While the broker is away it tries
    /// again: the client said it once and will not say it again.
    async fn give(&mut self, asked: &SentQuestion, answer: AnswerPayload) -> run::Result<Option<CountedAnswer>> {
        let given = answers::given(&asked.message, answer, &self.caller);
        let mut is_told_before = false;
        let mut backoff = ExponentialBackoff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
        if self.gateway.limits.has_messages() {
            Box::pin(self.gateway.limits.message_in_time(&self.caller)).await;
        }
        loop {
            match answers::give(self.gateway, &self.target, &asked.message, given.clone(), &self.caller).await {
                Ok(AnswerAcceptance::Yes) => return Ok(None),
                Ok(AnswerAcceptance::TakenBy { first, .. }) => {
                    let first = first.map(|first| first.counted(&asked.message.says)).unwrap_or_default();
                    // A password is sealed anew each time: what counts may be this one, stored by a try that nobody heard of.
                    let by = self.caller.user.as_ref().map(UserId::as_str);
                    let may_be_ours = is_told_before && asked.message.says.is_secret() && first.by.as_deref() == by;
                    return Ok((!may_be_ours).then_some(first));
                }
                Err(run::Error::Broker(broker::Error::Unavailable { .. } | broker::Error::Full { .. })) => {
                    is_told_before = true;
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = self.gateway.shutdown.soft() => return Ok(None),
                () = backoff.pause() => {}
            }
        }
    }
}
