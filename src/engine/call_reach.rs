//! What a call of a tool reaches outside, and for whom: in a run, and in a call that no run makes.

use std::sync::Arc;

use crate::broker::services::ServiceRequests;
use crate::engine::effects::ScopedEffects;
use crate::ids::RunId;
use crate::outside::OutsideServices;
use crate::outside::secrets::CallerTokenSource;

/// What a call reaches.
#[derive(Clone, Copy)]
pub(super) struct CallReach<'a> {
    pub outside: &'a OutsideServices,
    /// The services on NATS; none: there is no NATS server.
    pub services: Option<&'a Arc<dyn ServiceRequests>>,
    /// What knows the access token of the person whose run it is; none: there is no run.
    pub caller: Option<&'a dyn CallerTokenSource>,
    pub run: RunId,
}

impl<'a> CallReach<'a> {
    /// What the calls of a run reach.
    pub(super) fn of_run(effects: &'a ScopedEffects) -> Self {
        let journal = &effects.journal;
        Self {
            outside: &journal.context.outside,
            services: journal.context.broker.services.as_ref(),
            caller: Some(&journal.caller_token),
            run: journal.run,
        }
    }
}
