//! A call of a tool that no run makes, with what a run would give it: `inject`, secrets, and the bounds that the tool says.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::broker::services::ServiceRequests;
use crate::chat::{Result, WorkflowStop, checked_arguments};
use crate::engine::Error;
use crate::engine::call_reach::CallReach;
use crate::engine::scope::ExpressionScope;
use crate::engine::{outside, services, toolsets};
use crate::ids::{RunId, UserId};
use crate::outside::OutsideServices;
use crate::outside::toolset::ToolsetAnswer;
use crate::protocol::log::{RunCreation, RunOrigin};
use crate::workflow::expression::seen_map;
use crate::workflow::{StepAction, Workflow, WorkflowTool};

/// A call of a tool that no run makes.
pub struct SingleCall<'a> {
    /// The workflow that has the tool.
    pub workflow: &'a Workflow,
    /// The tool: one that does a single thing ([`WorkflowTool::single_action`]).
    pub tool: &'a WorkflowTool,
    /// What stands for the run, and for the key of the call.
    pub run: RunId,
    /// Who calls.
    pub user: Option<UserId>,
    /// What it reaches.
    pub outside: &'a OutsideServices,
    /// The services on NATS; none: there is no NATS server.
    pub services: Option<Arc<dyn ServiceRequests>>,
}

/// What came of it.
#[derive(Debug)]
pub enum SingleCallEnd {
    /// The tool was called.
    Answered(ToolsetAnswer),
    /// It was called and failed, or could not be called: why.
    Failed(String),
}

impl SingleCall<'_> {
    /// Makes it, with the arguments that a model would give.
    pub async fn make(&self, arguments: Map<String, Value>) -> SingleCallEnd {
        let Some(action) = self.tool.single_action() else {
            return SingleCallEnd::Failed(format!("only a run can call the tool {:?}", self.tool.name.as_str()));
        };
        let arguments = match checked_arguments(self.tool, arguments) {
            Ok(arguments) => arguments,
            Err(why) => return SingleCallEnd::Failed(why),
        };
        match self.answer(action, &arguments).await {
            Ok(answer) => SingleCallEnd::Answered(answer),
            Err(WorkflowStop::Failed(failure)) => SingleCallEnd::Failed(failure.message),
            Err(stop) => SingleCallEnd::Failed(format!("{stop:?}")),
        }
    }

    async fn answer(&self, action: &StepAction, arguments: &Map<String, Value>) -> Result<ToolsetAnswer> {
        let (outside, run) = (self.outside, self.run);
        let reach = CallReach { outside, services: self.services.as_ref(), caller: None, run };
        let (mut scope, key) = (self.scope(arguments), run.to_string());
        let value = match action {
            StepAction::Toolset(step) => {
                let came = toolsets::round(reach, &mut scope, step, &key, None).await?;
                return Ok(crate::bounds::from_value(came).map_err(Error::unreadable)?);
            }
            StepAction::Program(step) => outside::program_call(reach, &mut scope, step, &key).await,
            StepAction::Nats(step) => services::service_call(reach, &mut scope, step, &key).await,
            StepAction::Http(request) => outside::http_call(reach, &mut scope, request, &key).await,
            _ => unreachable!("a tool that does a single thing does one of these"),
        };
        value.map(ToolsetAnswer::Value)
    }

    /// What its templates see.
    fn scope(&self, arguments: &Map<String, Value>) -> ExpressionScope {
        let created = RunCreation {
            workflow: self.workflow.name.clone(),
            definition: None,
            params: Map::new(),
            user: self.user.clone(),
            groups: Box::default(),
            origin: RunOrigin::Gateway,
            trace: None,
            signature: None,
        };
        let mut scope = ExpressionScope::new(self.workflow, self.run, &created, &created.params);
        scope.bind("args", seen_map(arguments));
        scope.bind("context", seen_map(&Map::new()));
        scope
    }
}
