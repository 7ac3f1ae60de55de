//! The lists of runs in the embedded store, from its index.

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::session::StoreTransaction;
use super::{EmbeddedBroker, lines};
use crate::broker::Result;
use crate::broker::run_lists::{
    LineFilter, LineOrder, LinePage, LineQuery, QuestionPlace, QuestionQuery, RunLine, RunLists, RunTotals,
};
use crate::ids::{RunId, UserId, user_token};

/// How many lines are looked through before others have their turn.
const LOOKED_THROUGH_AT_ONCE: usize = 2000;
/// So much larger is each piece of a list of questions than the one before: of those who may see few, many are looked through.
const PIECE_GROWTH: usize = 8;
const DOING: &str = "list the runs";

#[async_trait]
impl RunLists for EmbeddedBroker {
    async fn page(&self, query: &LineQuery) -> Result<LinePage> {
        let mut found = LinePage { next: query.after, ..LinePage::default() };
        loop {
            let part = LineQuery {
                after: found.next,
                limit: query.limit - found.lines.len(),
                look_through: (query.look_through - found.looked_through).min(LOOKED_THROUGH_AT_ONCE),
                ..query.clone()
            };
            let page = self.store.call(DOING, move |session| Ok(lines::page(session.sql, &part)?)).await?;
            found.lines.extend(page.lines);
            found.looked_through += page.looked_through;
            found.next = page.next;
            let is_full = found.lines.len() >= query.limit || found.looked_through >= query.look_through;
            if is_full || found.next.is_none() {
                return Ok(found);
            }
        }
    }

    fn questions(&self, query: &QuestionQuery) -> BoxStream<'_, Result<(QuestionPlace, RunLine)>> {
        // One more says whether there is a next page.
        let first = Some((query.clone(), query.limit.saturating_add(1)));
        let pieces = stream::try_unfold(first, move |at| async move {
            let Some((query, most)) = at else { return Ok(None) };
            let most = most.min(LOOKED_THROUGH_AT_ONCE);
            let asked = query.clone();
            let read = move |session: &mut StoreTransaction<'_>| Ok(lines::questions(session.sql, &asked, most)?);
            let piece = self.store.call(DOING, read).await?;
            let rest = piece.next.map(|next| (QuestionQuery { after: Some(next), ..query }, most * PIECE_GROWTH));
            Ok(Some((stream::iter(piece.questions).map(Ok), rest)))
        });
        pieces.try_flatten().boxed()
    }

    async fn line(&self, run: RunId) -> Result<Option<RunLine>> {
        self.store.call(DOING, move |session| Ok(lines::line(session.sql, run)?)).await
    }

    async fn count_open(&self, user: Option<&UserId>, most: usize) -> Result<usize> {
        let owner = user_token(user);
        self.store.call(DOING, move |session| Ok(lines::count_open(session.sql, &owner, most)?)).await
    }

    fn every_line(&self) -> BoxStream<'_, Result<RunLine>> {
        let pages = stream::try_unfold(Some(None), move |at| async move {
            let Some(after) = at else { return Ok(None) };
            let (filter, order) = (LineFilter::default(), LineOrder::Newest);
            let query =
                LineQuery { filter, order, after, limit: LOOKED_THROUGH_AT_ONCE, look_through: LOOKED_THROUGH_AT_ONCE };
            let page = self.page(&query).await?;
            let lines = stream::iter(page.lines).map(Ok);
            Ok(Some((lines, page.next.map(Some))))
        });
        pages.try_flatten().boxed()
    }

    async fn totals(&self, dearest: usize) -> Result<RunTotals> {
        self.store.call(DOING, move |session| Ok(lines::totals(session.sql, dearest)?)).await
    }
}
