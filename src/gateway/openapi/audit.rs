//! What operators and auditors see of everybody's runs.

use super::parts::{ApiOperation, event, get, media_type, post};
use crate::audit::RunSelection;
use crate::gateway::audit::ExportQuery;
use crate::protocol::api::{
    AuditEventView, AuditEventsQuery, AuditHistory, AuditPageQuery, AuditRunList, AuditRunQuery, EmptyEvent, EraseUser,
    Erased, Overview, RunVerification, Verification, WorkerList,
};

pub(super) fn operations() -> Vec<ApiOperation> {
    vec![
        get(
            "/api/overview",
            "How everybody's runs are doing: by state, in the queue, waiting for people, by what they cost",
        )
        .sends::<Overview>(200, "The overview"),
        get("/api/workers", "The workers that are up, and what they have to do")
            .sends::<WorkerList>(200, "The workers"),
        get("/api/audit/runs", "Everybody's runs, the newest first")
            .query::<RunSelection>()
            .query::<AuditPageQuery>()
            .sends::<AuditRunList>(200, "The runs")
            .refuses(422, "`invalid_query`"),
        get("/api/audit/runs/{id}", "Everything that happened in a run")
            .query::<AuditRunQuery>()
            .sends::<AuditHistory>(200, "The run and its events")
            .refuses(404, "`unknown_run`")
            .refuses(422, "`invalid_query`"),
        get("/api/audit/runs/{id}/verify", "Whether the log of a run is what was written")
            .sends::<RunVerification>(200, "The verdict")
            .refuses(404, "`unknown_run`")
            .refuses(409, "`not_chained`: there is no key"),
        get("/api/audit/verify", "Whether the logs of all runs are what was written")
            .sends::<Verification>(200, "The report")
            .refuses(409, "`not_chained`: there is no key"),
        post("/api/audit/erase", "Take everything that was said out of a person's runs, for ever")
            .body::<EraseUser>()
            .sends::<Erased>(200, "What was erased, and what was not")
            .refuses(413, "`too_large`")
            .refuses(422, "`invalid_body`"),
        get("/api/audit/events", "What happens now, in all runs")
            .query::<AuditEventsQuery>()
            .streams(
                "Events: `record`, `gap` (something may have been missed), `goodbye`",
                &[event::<AuditEventView>("record"), event::<EmptyEvent>("gap"), event::<EmptyEvent>("goodbye")],
            )
            .refuses(404, "`unknown_run`")
            .refuses(422, "`invalid_query`"),
        export(),
    ]
}

fn export() -> ApiOperation {
    let mut export = get("/api/audit/export", "The events of all runs that are meant, as a file")
        .query::<ExportQuery>()
        .query::<RunSelection>()
        .refuses(422, "`invalid_query`");
    let mut content = media_type("application/x-ndjson", export.schema::<AuditEventView>());
    content.extend(media_type("text/csv", export.schema::<String>()));
    export.answers(200, "The events", content)
}
