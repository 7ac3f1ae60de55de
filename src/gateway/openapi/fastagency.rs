//! FastAgency's own endpoints.

use super::parts::{ApiOperation, get, post};
use crate::protocol::api::{DiscoveredWorkflowView, FastApiError, FirstFrame, InitiateWorkflow, WorkflowNames};

pub(super) fn operations() -> Vec<ApiOperation> {
    vec![
        get("/", "The names and descriptions of the workflows")
            .sends::<WorkflowNames>(200, "The workflows, unless the gateway serves a front end of its own"),
        get("/fastagency/discovery", "The workflows that can be started")
            .sends::<Vec<DiscoveredWorkflowView>>(200, "The workflows")
            .sends::<FastApiError>(504, "The broker is out of reach"),
        post("/fastagency/initiate_workflow", "Make the first frame of a conversation")
            .body::<InitiateWorkflow>()
            .sends::<FirstFrame>(200, "What to send as the first frame of /fastagency/ws")
            .sends::<FastApiError>(400, "The body broke off")
            .sends::<FastApiError>(408, "The body did not come in time")
            .sends::<FastApiError>(413, "The body is larger than 2 MiB")
            .sends::<FastApiError>(422, "What is wrong with the body, as FastAPI tells it"),
        get(
            "/fastagency/ws",
            "WebSocket: one conversation. The first frame says which, then the n-th text frame answers the n-th question",
        )
        .says(101, "The socket is open")
        .sends::<FastApiError>(404, "This is no WebSocket handshake"),
    ]
}
