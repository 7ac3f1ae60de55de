//! The places that connections have: how many there are, in all and for each address, who goes first when all are taken, and
//! how much of what clients have sent lies in memory unread.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Context;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::time::Instant;

/// What all connections of a tier together may have sent that was not taken yet: halves of bodies and of frames.
const MOST_UNTAKEN_BYTES: u64 = 256 * 1024 * 1024;
/// So much each connection may have however much others have, and it is not counted: more than nearly all requests.
pub const ALWAYS_FREE: u64 = 64 * 1024;

/// Nothing was asked since the connection was opened.
const NEW: u8 = 0;
/// A request is under way, or the connection has become a socket.
const AT_WORK: u8 = 1;
/// The last request was answered.
const KEPT: u8 = 2;
/// A part of the headers of another request came.
const BEGUN: u8 = 3;

/// What a connection is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionOrder {
    /// Nothing.
    Stay = 0,
    /// To end when what is under way has ended.
    Finish = 1,
    /// To end now.
    Go = 2,
}

/// All places of one tier.
#[derive(Clone)]
pub(super) struct ConnectionSlots(Arc<SlotTable>);

struct SlotTable {
    most: Option<u32>,
    taken: Mutex<TakenSlots>,
    untaken: ByteBudget,
    opened: Instant,
}

#[derive(Default)]
struct TakenSlots {
    by_address: HashMap<IpAddr, u32>,
    places: HashMap<u64, Arc<ConnectionSlot>>,
    last: u64,
}

/// Why there is no place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SlotRefusal {
    /// Its address has enough.
    OfAddress,
    /// All are taken, by connections that are at work.
    Full,
}

/// How many bytes somebody's connections may hold together.
#[derive(Debug)]
pub struct ByteBudget {
    held: AtomicU64,
    most: u64,
}

impl ByteBudget {
    /// Nothing is held.
    pub const fn new(most: u64) -> Self {
        Self { held: AtomicU64::new(0), most }
    }

    /// Adds to what is held; false if that is more than may be.
    fn add(&self, bytes: u64) -> bool {
        self.held.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.most
    }

    fn give_back(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Holds so many bytes for as long as what is returned is kept; `None` if there is no room for them.
    pub fn reserve(self: Arc<Self>, bytes: u64) -> Option<ReservedBytes> {
        let has_room = self.add(bytes);
        let reserved = ReservedBytes { budget: self, bytes };
        has_room.then_some(reserved)
    }
}

/// Bytes of a budget.
#[derive(Debug)]
pub struct ReservedBytes {
    budget: Arc<ByteBudget>,
    bytes: u64,
}

impl Drop for ReservedBytes {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// A connection's place.
pub struct ConnectionSlot {
    all: Arc<SlotTable>,
    number: u64,
    address: IpAddr,
    phase: AtomicU8,
    /// When the phase began that ends by the clock, in milliseconds since the tier began.
    since: AtomicU64,
    told: AtomicU8,
    /// Wakes the connection's task when it is told something.
    waker: AtomicWaker,
    /// What came and was not taken.
    untaken: AtomicU64,
    counted: Mutex<CountedBytes>,
    /// What comes is not held here.
    passes_on: AtomicBool,
}

/// What a connection holds beyond what is free. A buffer that has grown for a large frame stays as large while its socket
/// is open, so this does not shrink before the connection's end, or the end of its request.
#[derive(Default)]
struct CountedBytes {
    bytes: u64,
    /// Its user's share, once it is known who that is.
    share: Option<Arc<ByteBudget>>,
}

impl ConnectionSlots {
    pub(super) fn new(most: Option<u32>) -> Self {
        Self(Arc::new(SlotTable {
            most,
            taken: Mutex::default(),
            untaken: ByteBudget::new(MOST_UNTAKEN_BYTES),
            opened: Instant::now(),
        }))
    }

    /// A place for a connection of an address. If all are taken, one that asks nothing loses its own.
    pub(super) fn take(&self, address: IpAddr, per_address: Option<u32>) -> Result<Arc<ConnectionSlot>, SlotRefusal> {
        let mut taken = self.0.taken.lock();
        let of_address = taken.by_address.get(&address).copied().unwrap_or_default();
        if per_address.is_some_and(|most| of_address >= most) {
            return Err(SlotRefusal::OfAddress);
        }
        if self.0.most.is_some_and(|most| taken.places.len() >= most as usize) {
            taken.send_one_away()?;
        }
        taken.last += 1;
        let place = Arc::new(ConnectionSlot {
            all: self.0.clone(),
            number: taken.last,
            address,
            phase: AtomicU8::new(NEW),
            since: AtomicU64::new(self.0.now()),
            told: AtomicU8::new(ConnectionOrder::Stay as u8),
            waker: AtomicWaker::new(),
            untaken: AtomicU64::new(0),
            counted: Mutex::default(),
            passes_on: AtomicBool::new(false),
        });
        *taken.by_address.entry(address).or_default() += 1;
        taken.places.insert(place.number, place.clone());
        Ok(place)
    }

    /// Sends away what waits too long: for the headers of a request, or for another one.
    pub(super) fn send_late_away(&self, headers_within: Duration, kept_for: Duration) {
        let now = self.0.now();
        let taken = self.0.taken.lock();
        for place in taken.places.values() {
            let patience = match place.phase() {
                NEW | BEGUN => headers_within,
                KEPT => kept_for,
                _ => continue,
            };
            let waited = now.saturating_sub(place.since.load(Ordering::Relaxed));
            if Duration::from_millis(waited) >= patience {
                place.tell(ConnectionOrder::Go);
            }
        }
    }

    /// Lets all connections end as soon as what is under way on them has.
    pub(super) fn finish(&self) {
        let taken = self.0.taken.lock();
        taken.places.values().for_each(|place| place.tell(ConnectionOrder::Finish));
    }
}

impl SlotTable {
    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl TakenSlots {
    /// Those that never asked for anything go first, then those that wait longest for another request.
    fn send_one_away(&mut self) -> Result<(), SlotRefusal> {
        let asks_nothing = |place: &&Arc<ConnectionSlot>| matches!(place.phase(), NEW | KEPT | BEGUN);
        let order = |place: &&Arc<ConnectionSlot>| (place.phase() == KEPT, place.since.load(Ordering::Relaxed));
        let place = self.places.values().filter(asks_nothing).min_by_key(order).ok_or(SlotRefusal::Full)?;
        place.tell(ConnectionOrder::Go);
        let (number, address) = (place.number, place.address);
        self.remove(number, address);
        Ok(())
    }

    fn remove(&mut self, number: u64, address: IpAddr) {
        if self.places.remove(&number).is_none() {
            return;
        }
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

impl ConnectionSlot {
    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    /// A request came.
    pub(super) fn asked(&self) {
        self.phase.store(AT_WORK, Ordering::Relaxed);
    }

    /// Its answer has gone.
    pub(super) fn answered(&self) {
        self.request_taken();
        self.since.store(self.all.now(), Ordering::Relaxed);
        self.phase.store(KEPT, Ordering::Relaxed);
    }

    /// A whole frame of a socket was taken. The room that it took stays counted: its buffer is kept.
    pub fn taken(&self) {
        self.untaken.store(0, Ordering::Relaxed);
    }

    /// The whole request was taken; a small one counts for nothing.
    fn request_taken(&self) {
        if self.untaken.swap(0, Ordering::Relaxed) > ALWAYS_FREE {
            self.empty();
        }
    }

    /// Nothing that came is held any more.
    fn empty(&self) {
        let mut counted = self.counted.lock();
        let bytes = std::mem::take(&mut counted.bytes);
        self.all.untaken.give_back(bytes);
        if let Some(share) = counted.share.take() {
            share.give_back(bytes);
        }
    }

    /// From now on what comes is passed on to somebody else as it comes, and never held here.
    pub fn passes_on(&self) {
        self.passes_on.store(true, Ordering::Relaxed);
        self.request_taken();
    }

    /// From now on what comes counts for this share, too.
    pub fn counts_for(&self, share: Arc<ByteBudget>) {
        self.empty();
        self.counted.lock().share = Some(share);
    }

    /// Notes that bytes came; false: there is no room for them.
    pub(super) fn came(&self, bytes: usize) -> bool {
        if self.phase() == KEPT {
            self.since.store(self.all.now(), Ordering::Relaxed);
            self.phase.store(BEGUN, Ordering::Relaxed);
        }
        if self.passes_on.load(Ordering::Relaxed) {
            return true;
        }
        let untaken = self.untaken.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        untaken <= ALWAYS_FREE || self.has_room(untaken - ALWAYS_FREE)
    }

    /// Counts what is held beyond what is free.
    fn has_room(&self, bytes: u64) -> bool {
        let mut counted = self.counted.lock();
        let more = bytes.saturating_sub(counted.bytes);
        counted.bytes += more;
        let all_have_room = self.all.untaken.add(more);
        let share_has_room = counted.share.as_ref().is_none_or(|share| share.add(more));
        more == 0 || (all_have_room && share_has_room)
    }

    fn tell(&self, what: ConnectionOrder) {
        self.told.fetch_max(what as u8, Ordering::AcqRel);
        self.waker.wake();
    }

    /// What the connection was told; the task is woken when that changes.
    pub(super) fn told(&self, context: &Context<'_>) -> ConnectionOrder {
        self.waker.register(context.waker());
        match self.told.load(Ordering::Acquire) {
            0 => ConnectionOrder::Stay,
            1 => ConnectionOrder::Finish,
            _ => ConnectionOrder::Go,
        }
    }

    /// The connection is gone.
    pub(super) fn leave(&self) {
        self.empty();
        self.all.taken.lock().remove(self.number, self.address);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Poll, Waker};

    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn told(place: &ConnectionSlot) -> ConnectionOrder {
        place.told(&Context::from_waker(Waker::noop()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_nothing_makes_room_and_one_at_work_does_not() {
        let places = ConnectionSlots::new(Some(3));
        let take = || places.take(address(1), None);
        let at_work = take().unwrap();
        at_work.asked();
        let kept = take().unwrap();
        kept.answered();
        tokio::time::advance(Duration::from_secs(1)).await;
        let silent = take().unwrap();
        let fourth = take().unwrap();
        assert_eq!(
            (told(&silent), told(&kept)),
            (ConnectionOrder::Go, ConnectionOrder::Stay),
            "one that never asked goes first"
        );
        silent.leave();
        fourth.asked();
        let fifth = take().unwrap();
        assert_eq!(told(&kept), ConnectionOrder::Go);
        fifth.asked();
        assert_eq!(take().err(), Some(SlotRefusal::Full));
        at_work.leave();
        assert!(take().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn headers_that_do_not_come_are_not_waited_for_first_or_later() {
        let places = ConnectionSlots::new(None);
        let take = || places.take(address(1), Some(1));
        let is_sent_away = async |place: &ConnectionSlot, after: u64| {
            tokio::time::advance(Duration::from_secs(after)).await;
            places.send_late_away(Duration::from_secs(10), Duration::from_secs(65));
            told(place) == ConnectionOrder::Go
        };
        let silent = take().unwrap();
        assert_eq!(take().err(), Some(SlotRefusal::OfAddress));
        assert!(places.take(address(2), Some(1)).is_ok());
        assert!(!is_sent_away(&silent, 9).await && is_sent_away(&silent, 1).await);
        silent.leave();
        let kept = take().unwrap();
        kept.asked();
        assert!(!is_sent_away(&kept, 1000).await, "what is at work is not late");
        kept.answered();
        assert!(!is_sent_away(&kept, 60).await, "it may wait for another request");
        assert!(kept.came(1));
        assert!(is_sent_away(&kept, 10).await, "but not for the rest of one");
        kept.leave();
        let kept = take().unwrap();
        kept.answered();
        assert!(is_sent_away(&kept, 65).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_connection_is_told_wakes_its_task_and_is_not_taken_back() {
        let places = ConnectionSlots::new(None);
        let place = places.take(address(1), None).unwrap();
        let hears = std::future::poll_fn(|context| match place.told(context) {
            ConnectionOrder::Stay => Poll::Pending,
            told => Poll::Ready(told),
        });
        let ends = async {
            tokio::task::yield_now().await;
            places.finish();
        };
        let (both, begun) = (async { tokio::join!(hears, ends).0 }, Instant::now());
        assert_eq!(tokio::time::timeout(Duration::from_secs(5), both).await, Ok(ConnectionOrder::Finish));
        assert!(begun.elapsed().is_zero(), "it was woken, and did not look again by the clock");
        place.tell(ConnectionOrder::Go);
        places.finish();
        assert_eq!(told(&place), ConnectionOrder::Go);
    }

    #[tokio::test]
    async fn what_is_sent_and_never_ends_is_bounded_for_each_user_and_for_all() {
        let places = ConnectionSlots::new(None);
        let take = || places.take(address(1), None).unwrap();
        let share = Arc::new(ByteBudget::new(300_000));
        let (one, other, third) = (take(), take(), take());
        one.counts_for(share.clone());
        other.counts_for(share.clone());
        assert!(one.came(200_000) && other.came(160_000), "within its share");
        assert!(!one.came(150_000));
        assert!(third.came(200_000), "the others have theirs");
        one.leave();
        assert!(other.came(150_000));
        let held = share.held.load(Ordering::Relaxed);
        other.taken();
        assert!(other.came(200_000), "the room of the last frame is used again");
        assert_eq!(share.held.load(Ordering::Relaxed), held, "and stays counted");
        other.leave();
        assert_eq!(share.held.load(Ordering::Relaxed), 0);
        third.answered();
        for _ in 0..=MOST_UNTAKEN_BYTES / 1_000_000 {
            take().came(2_000_000);
        }
        let last = take();
        assert!(last.came(60_000) && !last.came(60_000));
    }

    #[test]
    fn a_reservation_holds_its_bytes_until_it_is_dropped() {
        let budget = Arc::new(ByteBudget::new(10));
        let reserved = budget.clone().reserve(8).expect("there is room");
        assert!(budget.clone().reserve(3).is_none());
        assert_eq!(budget.held.load(Ordering::Relaxed), 8, "what was refused holds nothing");
        drop(reserved);
        assert!(budget.reserve(10).is_some());
    }
}
