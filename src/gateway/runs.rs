//! `/api/runs`: starting, listing, looking up, renaming, ending and removing runs, and answering their questions.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json as Reply;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::auth::{Caller, KeyScope};
use crate::broker::RemovalMethod;
use crate::broker::run_lists::{
    InvalidPlace, LineAccess, LineFilter, LineOrder, LineOwner, LineQuery, MOST_LOOKED_THROUGH, QuestionPlace,
    QuestionQuery, SearchableLine, SearchedText,
};
use crate::clock::Timestamp;
use crate::config::AccessRight;
use crate::gateway::GatewayState;
use crate::gateway::answers;
use crate::gateway::body::{JsonBody, ValidatedQuery};
use crate::gateway::error::{ApiError, Result};
use crate::gateway::permissions::{RunPermissions, question_view, run_view};
use crate::gateway::run_start::{StartError, StartRequest, StartedRun, begin};
use crate::ids::{MessageId, Name, RunId, UserId};
use crate::message::late::{CountedAnswer, LateAnswer, late_stop};
use crate::message::{MessageContent, OTHER_DIGEST, check_answer};
use crate::protocol::api::{
    AnswerQuestion, LISTED, LONGEST_REASON, LONGEST_TITLE, ListQuestionsQuery, ListRunsQuery, MOST_LISTED,
    QuestionList, RemoveRunQuery, RenameRun, RunList, RunView, StartRun, StartRunQuery, WorkflowList, WorkflowView,
};
use crate::protocol::log::{LogEntry, Record, RecordBody, RunCreation, RunOutcome, RunRemoval, TitleEvent};
use crate::protocol::run_line::{LineStatus, has_words, title_words};
use crate::run;
use crate::run::answer::{AnswerAcceptance, AnswerPayload};
use crate::run::attach::{FollowedEvent, attach};
use crate::run::lists::{self, SummaryPage};
use crate::run::question::AskedRun;
use crate::run::redaction;
use crate::run::remove::remove;
use crate::run::run_ref::RunRef;
use crate::run::summary::{self, OpenQuestion, RunState, RunSummary};
use crate::visible::checked_line;

/// The longest `?wait=`: proxies commonly give up after a minute.
const LONGEST_WAIT: Duration = Duration::from_secs(55);
/// About how many bytes are left of a removed run, its reason aside: its tombstone, and a line for the audit.
const TOMBSTONE: usize = 2048;
/// The longest `Idempotency-Key`, in bytes; a UUID has 36.
pub const LONGEST_KEY: usize = 255;

/// `GET /api/workflows`.
pub async fn workflows(State(gateway): State<Arc<GatewayState>>, caller: Caller) -> Result<Reply<WorkflowList>> {
    let known = gateway.known.all().await?;
    let may_start = |name: &str| gateway.auth.may_start(&caller, name);
    let native = known.native.values().filter(|native| may_start(native.card.name.as_str())).map(|native| {
        let card = &native.card;
        WorkflowView {
            name: card.name.to_string(),
            title: card.title.clone(),
            description: card.description.clone(),
            params: card.params.clone(),
            available: native.available,
        }
    });
    // FastAgency's workers do not say when they go, nor what parameters they take.
    let foreign = known.foreign.iter().filter(|found| may_start(&found.name)).map(|found| WorkflowView {
        name: found.name.clone(),
        title: None,
        description: Some(found.description.clone()),
        params: None,
        available: true,
    });
    Ok(Reply(WorkflowList { workflows: native.chain(foreign).collect() }))
}

/// `POST /api/runs`.
pub async fn create(
    State(gateway): State<Arc<GatewayState>>,
    caller: Caller,
    headers: HeaderMap,
    ValidatedQuery(StartRunQuery { wait }): ValidatedQuery<StartRunQuery>,
    JsonBody(new): JsonBody<StartRun>,
) -> Result<(StatusCode, Reply<RunView>)> {
    let wait = match wait {
        None => Duration::ZERO,
        Some(seconds) => Duration::try_from_secs_f64(seconds).map(|wait| wait.min(LONGEST_WAIT)).map_err(|_| {
            ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_query",
                "wait: must be a number of seconds, 0 or more",
            )
        })?,
    };
    if !wait.is_zero() && caller.lacks(&[KeyScope::See]).is_some() {
        let words = "wait: this key is not for that: it has not the scope \"see\", and what comes of a run is for those who may";
        return Err(ApiError::forbidden(words));
    }
    let user = caller.user.clone();
    let run = match idempotency_key(&headers)? {
        Some(key) => gateway.idempotency.run(&gateway, user.as_ref(), key).await?,
        None => gateway.broker.log.new_run_id(),
    };
    let params = new.params.unwrap_or_default();
    let wanted = StartRequest { run, workflow: &new.workflow, params: params.clone(), caller: &caller };
    let begun = begin(&gateway, wanted).await?;
    let mut summary = match begun.new {
        Some(seq) => just_begun(&gateway, run, &begun, seq),
        None => {
            if begun.created.workflow.as_str() != new.workflow || begun.created.user != user {
                return Err(ApiError::new(
                    StatusCode::CONFLICT,
                    "idempotency_key_used",
                    "another run was started with this Idempotency-Key",
                ));
            }
            look_up(&gateway, run, &caller).await?.summary_for(&caller)
        }
    };
    if !wait.is_zero() {
        wait_for_news(&gateway, &mut summary, wait).await?;
    }
    let status = if begun.new.is_some() { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Reply(run_view(&gateway, &caller, &summary))))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    // `to_str` takes a tab for a visible character.
    match key.to_str() {
        Ok(key) if (1..=LONGEST_KEY).contains(&key.len()) && !key.contains('\t') => Ok(Some(key)),
        _ => Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_idempotency_key",
            format!("the Idempotency-Key must be 1 to {LONGEST_KEY} visible ASCII characters"),
        )),
    }
}

impl From<StartError> for ApiError {
    fn from(refused: StartError) -> Self {
        let message = refused.to_string();
        match refused {
            StartError::UnknownWorkflow { similar, .. } => {
                ApiError::new(StatusCode::NOT_FOUND, "unknown_workflow", message)
                    .hint(similar.map(|name| format!("did you mean {name:?}?")))
            }
            StartError::InvalidParams { .. } => {
                ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_params", message)
            }
            StartError::TooMany(refused) => refused.into(),
            StartError::Run(error) => error.into(),
        }
    }
}

fn just_begun(gateway: &GatewayState, run: RunId, begun: &StartedRun, seq: u64) -> RunSummary {
    let record = Record::new(RecordBody::Created(begun.created.clone()));
    RunSummary::of(run, &[LogEntry { seq, at: gateway.clock.now(), record }])
}

/// Follows a run until it has ended, asks something, or the time is over.
async fn wait_for_news(gateway: &GatewayState, summary: &mut RunSummary, wait: Duration) -> Result<()> {
    let follow = async {
        let mut attached = attach(&gateway.broker, summary.id, summary.seq).await?;
        while !matches!(summary.state, RunState::Waiting | RunState::Ended) {
            match attached.next().await? {
                Some(FollowedEvent::Record(placed)) => {
                    gateway.unclaimed.saw(summary.id, &placed);
                    gateway.recent_ends.saw(summary.id, &placed);
                    summary.apply(&placed);
                }
                Some(FollowedEvent::CaughtUp { .. } | FollowedEvent::Delta(_)) => {}
                None => break,
            }
        }
        Ok(())
    };
    tokio::select! {
        () = gateway.shutdown.soft() => Ok(()),
        () = tokio::time::sleep(wait) => Ok(()),
        outcome = follow => outcome,
    }
}

/// `GET /api/runs`.
pub async fn list(
    State(gateway): State<Arc<GatewayState>>,
    caller: Caller,
    ValidatedQuery(asked): ValidatedQuery<ListRunsQuery>,
) -> Result<Reply<RunList>> {
    let access = if asked.everybody == Some(true) {
        let words = "the runs of others are for admins, and for whom auth.access lets see them";
        Some(access_to_all(&gateway, &caller, AccessRight::See, words)?)
    } else {
        None
    };
    let query = LineQuery {
        filter: LineFilter {
            owner: access.as_ref().map_or_else(|| LineOwner::User(caller.user.clone()), |_| LineOwner::Everybody),
            access,
            statuses: asked.state.map(LineStatus::of_state).unwrap_or_default().to_vec(),
            workflow: asked.workflow.clone(),
            since: asked.since,
            until: asked.until,
            words: title_words(asked.title.as_deref().unwrap_or_default()),
            text: SearchedText::new(asked.search.as_deref().unwrap_or_default(), false),
            ..LineFilter::default()
        },
        order: LineOrder::WaitingFirst,
        after: asked.cursor.as_deref().map(read_cursor).transpose()?,
        limit: asked.limit.unwrap_or(LISTED).min(MOST_LISTED),
        look_through: MOST_LOOKED_THROUGH,
    };
    let SummaryPage { mut runs, next } = lists::page(&gateway.broker, &query).await?;
    let is_in_state = |run: &RunSummary| asked.state.is_none_or(|state| run.state == state);
    show_lines(&gateway, &mut runs, |run| is_in_state(run) && has_searched(run, &query.filter));
    let runs = runs.iter().map(|run| run_view(&gateway, &caller, run)).collect();
    Ok(Reply(RunList { runs, next: next.map(|next| next.to_string()) }))
}

/// The runs of everybody that a caller may do this with, if there are some; `refusal` says otherwise for whom the list is.
fn access_to_all(gateway: &Arc<GatewayState>, caller: &Caller, act: AccessRight, refusal: &str) -> Result<LineAccess> {
    if !gateway.auth.may_with_others(caller, act) {
        return Err(ApiError::forbidden(refusal));
    }
    let (gateway, caller) = (gateway.clone(), caller.clone());
    Ok(LineAccess::new(move |workflow, user| gateway.auth.may(&caller, act, workflow, user)))
}

/// Shows the runs as ended of which that is known here before it is in the lists, and redacted: workers have written these lines,
/// perhaps before it was said what is not to be seen. Leaves those that are still meant: nobody finds a run by what is not shown.
pub fn show_lines(gateway: &GatewayState, runs: &mut Vec<RunSummary>, is_meant: impl Fn(&RunSummary) -> bool) {
    gateway.recent_ends.apply(runs);
    runs.iter_mut().for_each(|run| redaction::summary(&gateway.settings.redactor, run));
    runs.retain(is_meant);
}

/// Whether a run has the words and the text that are looked for.
fn has_searched(run: &RunSummary, filter: &LineFilter) -> bool {
    let (id, title) = (run.id.to_string(), run.title.as_deref());
    let workflow = run.workflow.as_ref().map(Name::as_str);
    let searched = SearchableLine { run: &id, title, workflow, user: None, reason: None };
    has_words(title.unwrap_or_default(), &filter.words) && filter.text.as_ref().is_none_or(|text| text.is_in(&searched))
}

/// Reads the cursor of a list.
pub fn read_cursor<P: FromStr<Err = InvalidPlace>>(text: &str) -> Result<P> {
    text.parse().map_err(|why: InvalidPlace| {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_query", format!("cursor: {why}"))
    })
}

/// `GET /api/questions`: what the caller's runs wait for, or all that he may answer, the oldest question first.
pub async fn questions(
    State(gateway): State<Arc<GatewayState>>,
    caller: Caller,
    ValidatedQuery(asked): ValidatedQuery<ListQuestionsQuery>,
) -> Result<Reply<QuestionList>> {
    let is_of_all = asked.everybody == Some(true);
    if is_of_all {
        let words = "others' questions are for admins, and for whom auth.access lets answer them";
        access_to_all(&gateway, &caller, AccessRight::Answer, words)?;
    }
    let Some(owner) = owner_of_questions(&caller, &asked) else {
        return Ok(Reply(QuestionList { questions: Vec::new(), next: None }));
    };
    let query = QuestionQuery {
        owner,
        asked_before: asked.asked_before,
        after: asked.cursor.as_deref().map(read_cursor).transpose()?,
        limit: asked.limit.unwrap_or(LISTED).min(MOST_LISTED),
        look_through: MOST_LOOKED_THROUGH,
    };
    let search = asked.search.as_deref().unwrap_or_default().trim().to_lowercase();
    let shown = |run: &mut RunSummary, place: QuestionPlace| {
        let workflow = run.workflow.as_ref().map(Name::as_str).unwrap_or_default();
        if asked.workflow.as_deref().is_some_and(|wanted| wanted != workflow) {
            return None;
        }
        gateway.recent_ends.apply(std::slice::from_mut(run));
        redaction::summary(&gateway.settings.redactor, run);
        let question = run.questions.iter().find(|open| open.id == place.question)?;
        let may_answer = || RunPermissions::of_summary(&gateway, &caller, run).may_answer(question);
        ((!is_of_all || may_answer()) && is_found(run, question, &search)).then(|| question.clone())
    };
    let page = lists::questions(&gateway.broker, &query, shown).await?;
    let views = page.questions.iter().map(|(run, question)| question_view(&gateway, &caller, run, question));
    Ok(Reply(QuestionList { questions: views.collect(), next: page.next.map(|next| next.to_string()) }))
}

/// Of whose runs questions are asked for; none: of runs that are not the caller's, who asks for their own.
fn owner_of_questions(caller: &Caller, asked: &ListQuestionsQuery) -> Option<LineOwner> {
    let wanted = asked.user.as_ref().map(|user| UserId::new(user.as_str()));
    match (asked.everybody == Some(true), wanted) {
        (true, None) => Some(LineOwner::Everybody),
        (true, Some(user)) => Some(LineOwner::User(user)),
        (false, Some(user)) if user != caller.user => None,
        (false, _) => Some(LineOwner::User(caller.user.clone())),
    }
}

/// Whether the text is in what a question asks, or in what its run is called by.
fn is_found(run: &RunSummary, question: &OpenQuestion, search: &str) -> bool {
    let name = run.workflow.as_ref().map(|name| name.as_str()).unwrap_or_default();
    let user = run.user.as_ref().map(|user| user.as_str()).unwrap_or_default();
    let texts = [question.prompt.as_str(), run.title.as_deref().unwrap_or_default(), name, user];
    search.is_empty()
        || texts.iter().any(|text| text.to_lowercase().contains(search))
        || run.id.to_string().contains(&search.replace('-', ""))
}

/// A run that the caller may see.
struct VisibleRun {
    created: RunCreation,
    summary: RunSummary,
    /// What of its log cannot be read, in sentences.
    unreadable: Vec<String>,
}

/// Reads a run. Somebody else's, a removed one and one that never was are all unknown.
async fn look_up(gateway: &GatewayState, run: RunId, caller: &Caller) -> Result<VisibleRun> {
    let looked = run::look(&gateway.broker, run, 0).await?;
    let unknown = || ApiError::unknown_run(&run.to_string());
    let created = match looked.created() {
        Some(created) => created.clone(),
        None if looked.unreadable.is_empty() => return Err(unknown()),
        // How it began cannot be read. Its line in the lists says whose it is; without one it is for admins.
        None => match lists::line_of(&gateway.broker, run).await? {
            Some(line) => line.as_created(),
            None if caller.is_admin => RunSummary::new(run).as_created(),
            None => return Err(unknown()),
        },
    };
    if !gateway.auth.may(caller, AccessRight::See, created.workflow.as_str(), created.user.as_ref()) {
        return Err(unknown());
    }
    let mut summary = redaction::summary_of(&gateway.settings.redactor, run, &looked.records);
    if let Some(title) = summary::title(&gateway.broker, created.user.as_ref(), run).await? {
        summary.title = Some(title);
    }
    redaction::summary(&gateway.settings.redactor, &mut summary);
    let unreadable = looked.unreadable.iter().map(|unread| unread.why.to_string()).collect();
    Ok(VisibleRun { created, summary, unreadable })
}

impl VisibleRun {
    /// What a caller is shown of it.
    fn shown(self, gateway: &GatewayState, caller: &Caller) -> RunView {
        RunView { unreadable: self.unreadable, ..run_view(gateway, caller, &self.summary) }
    }

    /// What it is for a caller: without the scope `see` no more than how it began, as at its start.
    fn summary_for(self, caller: &Caller) -> RunSummary {
        if caller.lacks(&[KeyScope::See]).is_none() {
            return self.summary;
        }
        let record = Record::new(RecordBody::Created(self.created));
        RunSummary::of(self.summary.id, &[LogEntry { seq: 1, at: self.summary.created_at, record }])
    }

    /// What a caller is told who stops it too late.
    fn how_it_ended(&self, caller: &Caller) -> String {
        let outcome = self.summary.outcome.unwrap_or(RunOutcome::Cancelled);
        late_stop(outcome, self.summary.reason.as_deref(), caller.user.as_ref().map(UserId::as_str))
            .unwrap_or_else(|| "this run was stopped before; your stop was not needed".to_owned())
    }

    /// Refuses what only its user and admins may do.
    fn allow_owner(&self, caller: &Caller) -> Result<()> {
        if caller.is_admin || caller.user == self.created.user {
            return Ok(());
        }
        Err(ApiError::forbidden("only the user who started this run, and admins, may do this"))
    }
}

/// Refuses what the caller may not do, although the caller may see the run.
fn allow(gateway: &GatewayState, caller: &Caller, act: AccessRight, created: &RunCreation) -> Result<()> {
    if gateway.auth.may(caller, act, created.workflow.as_str(), created.user.as_ref()) {
        return Ok(());
    }
    let what = match act {
        AccessRight::Cancel => "stop this run",
        AccessRight::Answer => "answer in this run",
        AccessRight::See => "see this run",
        AccessRight::Start => "start this workflow",
    };
    Err(ApiError::forbidden(format!("you don't have permission to {what}")))
}

/// The id of a path.
pub fn run_id(text: &str) -> Result<RunId> {
    RunId::parse(text).map_err(|_| ApiError::unknown_run(text))
}

/// `GET /api/runs/{id}`.
pub async fn get(
    State(gateway): State<Arc<GatewayState>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Reply<RunView>> {
    let found = look_up(&gateway, run_id(&id)?, &caller).await?;
    Ok(Reply(found.shown(&gateway, &caller)))
}

/// `PATCH /api/runs/{id}`.
pub async fn rename(
    State(gateway): State<Arc<GatewayState>>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(change): JsonBody<RenameRun>,
) -> Result<Reply<RunView>> {
    let run = run_id(&id)?;
    let found = look_up(&gateway, run, &caller).await?;
    found.allow_owner(&caller)?;
    let owner = found.created.user;
    let title = change.title.as_deref().map(|title| checked_line(title, LONGEST_TITLE)).transpose();
    let title = title
        .map_err(|why| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_title", format!("title: {why}")))?;
    let title = title.filter(|title| !title.is_empty());
    // No run needs its title: what is not to be seen is not kept in the first place.
    let title = title.map(|title| gateway.settings.redactor.text(title));
    let weight = summary::weight_of_rename(&gateway.broker, owner.as_ref(), run, title.as_deref()).await?;
    gateway.limits.store(&caller, weight)?;
    let renamed = TitleEvent { by: caller.user.clone(), at: gateway.clock.now(), dropped: 0 };
    summary::rename(&gateway.broker, owner.as_ref(), run, title.as_deref(), renamed).await?;
    let found = look_up(&gateway, run, &caller).await?;
    let title = found.summary.title.clone();
    Ok(Reply(run_view(&gateway, &caller, &RunSummary { title, ..found.summary_for(&caller) })))
}

/// `DELETE /api/runs/{id}`. Who removed it, when and why is kept, with what the run was.
pub async fn delete(
    State(gateway): State<Arc<GatewayState>>,
    caller: Caller,
    Path(id): Path<String>,
    ValidatedQuery(RemoveRunQuery { reason }): ValidatedQuery<RemoveRunQuery>,
) -> Result<StatusCode> {
    let run = run_id(&id)?;
    let found = look_up(&gateway, run, &caller).await?;
    found.allow_owner(&caller)?;
    // One that cannot be read may never end.
    if found.summary.state != RunState::Ended && found.unreadable.is_empty() {
        return Err(ApiError::new(StatusCode::CONFLICT, "run_not_ended", "the run has not ended")
            .hint(Some("cancel it first".to_owned())));
    }
    let reason = reason.as_deref().map(|reason| checked_line(reason, LONGEST_REASON)).transpose();
    let reason = reason
        .map_err(|why| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_query", format!("reason: {why}")))?;
    let reason = reason.filter(|reason| !reason.is_empty());
    let weight = TOMBSTONE + reason.map_or(0, str::len);
    let removal = RunRemoval {
        at: Some(gateway.clock.now()),
        by: caller.user.as_ref().map(ToString::to_string),
        reason: reason.map(|reason| gateway.settings.redactor.text(reason).into_owned()),
        ..RunRemoval::default()
    };
    remove(&gateway.broker, run, &found.created, removal, gateway.settings.keep_evidence, RemovalMethod::Overwrite)
        .await?;
    gateway.limits.stored(&caller, weight);
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/runs/{id}/cancel`.
pub async fn cancel(
    State(gateway): State<Arc<GatewayState>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    let run = run_id(&id)?;
    let found = look_up(&gateway, run, &caller).await?;
    allow(&gateway, &caller, AccessRight::Cancel, &found.created)?;
    if found.summary.state == RunState::Ended {
        return Err(ApiError::new(StatusCode::CONFLICT, "run_ended", found.how_it_ended(&caller)));
    }
    answers::cancel(&gateway, &RunRef::of(run, &found.created), caller.user.clone()).await?;
    gateway.limits.stored(&caller, 0);
    Ok(StatusCode::ACCEPTED)
}

/// `POST /api/runs/{id}/answers/{question}`.
pub async fn answer(
    State(gateway): State<Arc<GatewayState>>,
    caller: Caller,
    Path((id, question)): Path<(String, String)>,
    JsonBody(answering): JsonBody<AnswerQuestion>,
) -> Result<StatusCode> {
    let run = run_id(&id)?;
    let question = MessageId::parse(&question).map_err(|_| unknown_question(&question))?;
    let broker = &gateway.broker;
    let AskedRun { created, question: found } = run::question::look_for(broker, run, question).await?;
    let created = created
        .filter(|created| gateway.auth.may(&caller, AccessRight::See, created.workflow.as_str(), created.user.as_ref()))
        .ok_or_else(|| ApiError::unknown_run(&id))?;
    allow(&gateway, &caller, AccessRight::Answer, &created)?;
    gateway.limits.message(&caller)?;
    let found = found.ok_or_else(|| unknown_question(&question.to_string()))?;
    if let Some(why) = answers::refusal(&found.message, &caller, created.user.as_ref(), found.escalated) {
        return Err(ApiError::forbidden(why));
    }
    let late = LateAnswer::new(&found.message.says, &answering.value);
    if let Some((answered, at)) = found.answered {
        return Err(already_answered(&late, &CountedAnswer::from(&answered), at, &caller));
    }
    if found.ended {
        return Err(ApiError::new(StatusCode::CONFLICT, "run_ended", late.sentence_after_the_end()));
    }
    check_digest(&found.message.says, &answering.value)?;
    let fits = check_answer(&found.message.says, &answering.value)
        .map_err(|problem| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_answer", problem))?;
    let answer = AnswerPayload::Value(fits.value);
    gateway.limits.bytes(&caller, &answer)?;
    let given = answers::given(&found.message, answer, &caller);
    match answers::give(&gateway, &RunRef::of(run, &created), &found.message, given, &caller).await? {
        AnswerAcceptance::Yes => Ok(StatusCode::ACCEPTED),
        AnswerAcceptance::TakenBy { first, at } => {
            let first = first.map(|first| first.counted(&found.message.says)).unwrap_or_default();
            Err(already_answered(&late, &first, at, &caller))
        }
    }
}

/// Whoever allows a call says what was shown: an answer to something else counts for nothing.
fn check_digest(question: &MessageContent, answer: &Value) -> Result<()> {
    let MessageContent::Approval(asked) = question else { return Ok(()) };
    let Some(digest) = &asked.digest else { return Ok(()) };
    match answer.get("digest").and_then(Value::as_str) {
        Some(named) if named == digest => Ok(()),
        Some(_) => Err(ApiError::new(StatusCode::CONFLICT, "other_digest", OTHER_DIGEST)),
        None if answer["decision"] == "deny" => Ok(()),
        None => Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_answer",
            "an answer that allows a call has the `digest` of the question, which is in the events of the run and stands for what was shown",
        )),
    }
}

fn unknown_question(id: &str) -> ApiError {
    let shown: String = id.chars().take(80).collect();
    ApiError::new(StatusCode::NOT_FOUND, "unknown_question", format!("the run has asked no question {shown:?}"))
}

fn already_answered(late: &LateAnswer, first: &CountedAnswer, at: Timestamp, caller: &Caller) -> ApiError {
    let sentence = late.sentence(first, caller.user.as_ref().map(UserId::as_str));
    ApiError::new(StatusCode::CONFLICT, "already_answered", sentence).beaten_by(first.by.clone(), at)
}
