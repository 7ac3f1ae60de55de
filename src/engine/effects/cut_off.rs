//! A call that was under way when its worker was lost: a person says whether it is made again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Map, Value};

use super::{ScopedEffects, ask};
use crate::chat::{HumanQuestion, HumanReply, Result};
use crate::message::{MessageContent, MultipleChoice};
use crate::protocol::log::{EffectOutcome, RecordBody};
use crate::protocol::message::LOST_CALL_CHOICES;
use crate::protocol::participant::USER;
use crate::workflow::AnswererTerms;

/// How many letters of the arguments the question repeats: the page shows the call itself above.
const MOST_OF_ARGUMENTS: usize = 500;

/// The call of a tool, as a person is told of it who decides whether it is made again.
pub(in crate::engine) struct CutOffCall {
    pub tool: String,
    /// Which agent called it, or the workflow.
    pub by: String,
    pub arguments: Map<String, Value>,
    /// Who decides, where the tool says who may allow its calls.
    pub answerers: Option<Arc<AnswererTerms>>,
}

/// Whether the effect that was begun last is begun once more, though nobody knows whether it was done.
pub(super) async fn begins_again(effects: &ScopedEffects, call: &CutOffCall) -> Result<bool> {
    let number = effects.next.load(Ordering::Relaxed) - 1;
    let deciding = ScopedEffects::new(effects.journal.clone(), effects.scope.cut_off(number), effects.within());
    let mut arguments = effects.journal.secrets.passwords().conceal(&call.arguments);
    // In a sentence nobody could tell a field by its name any more.
    effects.journal.context.redactor().fields(&mut arguments);
    loop {
        match ask(&deciding, question(call, &arguments)).await? {
            HumanReply::Given(Value::String(choice)) if choice == LOST_CALL_CHOICES[0] => {}
            _ => return Ok(false),
        }
        if begins(&deciding).await? {
            return Ok(true);
        }
    }
}

/// Notes that something is begun now; false: the log remembers it, so it was cut off as well.
async fn begins(effects: &ScopedEffects) -> Result<bool> {
    let key = effects.key();
    if effects.journal.log.remembered(&key).is_some() {
        return Ok(false);
    }
    effects.check_new(&key)?;
    let outcome = EffectOutcome::Value(Value::Bool(true));
    effects.journal.log.append(RecordBody::Did { key, outcome }).await?;
    Ok(true)
}

fn question(call: &CutOffCall, arguments: &Map<String, Value>) -> HumanQuestion {
    let mut shown = Value::Object(arguments.clone()).to_string();
    if let Some((end, _)) = shown.char_indices().nth(MOST_OF_ARGUMENTS) {
        shown.truncate(end);
        shown.push('…');
    }
    let tool = &call.tool;
    let fence = fence_around(&shown);
    let prompt = format!(
        "The worker was lost while the tool `{tool}` was called with {fence}{shown}{fence}. Nobody knows whether it was done. Is it to be called again?"
    );
    HumanQuestion {
        sender: call.by.clone(),
        recipient: USER.to_owned(),
        says: MessageContent::MultipleChoice(MultipleChoice {
            prompt: Some(prompt),
            choices: LOST_CALL_CHOICES.map(str::to_owned).to_vec(),
            descriptions: vec![
                Some("If it was done, it is done twice.".to_owned()),
                Some("It goes on as a call that failed.".to_owned()),
            ],
            single: true,
            ..MultipleChoice::default()
        }),
        timeout: None,
        default: None,
        answerers: call.answerers.clone(),
    }
}

/// What marks a text as code in Markdown, whatever is in it.
fn fence_around(text: &str) -> String {
    let longest = text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest + 1)
}
