//! Devices of one person under a virtual clock: partitions, reboots, travel, denied permissions and a system that takes few
//! rings ahead, from one seed. When something should ring is reckoned a second time here, in a simpler way.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::recur::{Gap, OccurrenceId, Rule, Series, Start};

const ZONES: [&str; 5] = ["Europe/Berlin", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe", "UTC"];
/// Afternoons before nights in which clocks change somewhere, and one before none.
const BEGINS: [&str; 4] = ["2026-03-28T14:00", "2026-10-24T14:00", "2026-03-07T18:00", "2026-06-15T12:00"];
const HOURS: i64 = 40;

struct Draw(u64);

impl Draw {
    fn below(&mut self, below: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (it ^ (it >> 31)) % below
    }

    fn is(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn between(&mut self, from: i64, to: i64) -> i64 {
        from + i64::try_from(self.below(u64::try_from(to - from + 1).unwrap())).unwrap()
    }

    fn zone(&mut self) -> &'static str {
        ZONES[usize::try_from(self.below(ZONES.len() as u64)).unwrap()]
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

/// What a device knows; two are joined to the same in any order.
#[derive(Clone, Default, PartialEq)]
struct Known {
    items: BTreeMap<String, Item>,
    acks: Acks,
    /// What somebody settled.
    ended: BTreeSet<(String, OccurrenceId)>,
    /// What somebody acknowledged: of one that was moved, what was said before counts no longer.
    seen: BTreeSet<FireId>,
}

impl Known {
    fn merge(&mut self, other: &Self) {
        for (name, item) in &other.items {
            let own = self.items.entry(name.clone()).or_insert_with(|| item.clone());
            let settled = own.settled.union(&item.settled).copied().collect();
            if item.revision > own.revision {
                *own = item.clone();
            }
            own.settled = settled;
        }
        self.acks.merge(&other.acks);
        self.ended.extend(other.ended.iter().cloned());
        self.seen.extend(&other.seen);
    }
}

/// A ring that a device owes: it must be in the log by then.
#[derive(Clone, Debug)]
struct Owed {
    by: Timestamp,
    what: (String, OccurrenceId),
    first: FireId,
    /// It was put off: a ring before this does not count.
    after: Option<Timestamp>,
}

struct Node {
    ringer: Ringer,
    known: Known,
    zone: TimeZone,
    is_on: bool,
    is_running: bool,
    is_online: bool,
    /// Its system rings what it was asked to, also while the program does not run.
    is_phone: bool,
    used_at: Option<Timestamp>,
    schedule: Schedule,
    /// Names of what is pending, as the log calls it.
    names: BTreeMap<FireId, Fire>,
    delivered: Vec<FireId>,
    owed: Vec<Owed>,
}

impl Node {
    /// Whether something can ring here at all.
    fn is_live(&self) -> bool {
        self.is_on && self.ringer.device().is_permitted && (self.is_phone || self.is_running)
    }
}

enum Event {
    Power(usize, bool),
    Run(usize, bool),
    Online(usize, bool),
    Travel(usize, &'static str),
    Permit(usize, bool),
    Use(usize),
    Add(usize, Box<Item>),
    Move(usize),
    Say(usize, Box<Fire>, Saying),
}

#[derive(Clone, Copy)]
enum Saying {
    Ack,
    Done,
    Snooze(i64),
}

struct World {
    draw: Draw,
    now: Timestamp,
    begin: Timestamp,
    end: Timestamp,
    nodes: Vec<Node>,
    cloud: Known,
    policy: Policy,
    key: FireKey,
    events: BTreeMap<(Timestamp, u64), Event>,
    count: u64,
    /// Who rang what, and when.
    log: Vec<(usize, FireId, Timestamp)>,
    rung: BTreeSet<(usize, FireId)>,
    listed: BTreeSet<(String, OccurrenceId)>,
    added: u32,
}

/// What a simulated schedule came to.
#[derive(Default, Clone, Copy, Debug)]
pub(super) struct Tally {
    pub(super) rings: usize,
    pub(super) owed: usize,
    pub(super) plans: usize,
}

fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

impl World {
    fn new(seed: u64) -> Self {
        let mut draw = Draw(seed);
        let home = draw.zone();
        let zone = TimeZone::get(home).unwrap();
        let begin = zone.to_timestamp(draw.one(&BEGINS).parse::<DateTime>().unwrap()).unwrap();
        let count = draw.between(1, 4);
        let nodes = (0..count).map(|at| {
            let is_phone = draw.is(50);
            let pending_max = is_phone.then(|| *draw.one(&[6, 64]));
            let device =
                Device { id: DeviceId([u8::try_from(at).unwrap(); 32]), is_permitted: draw.is(85), pending_max };
            let is_on = draw.is(90);
            Node {
                ringer: Ringer::new(device, begin),
                known: Known::default(),
                zone: if draw.is(80) { zone.clone() } else { TimeZone::get(draw.zone()).unwrap() },
                is_on,
                is_running: is_on && draw.is(70),
                is_online: draw.is(70),
                is_phone,
                used_at: None,
                schedule: Schedule::default(),
                names: BTreeMap::new(),
                delivered: Vec::new(),
                owed: Vec::new(),
            }
        });
        let nodes: Vec<Node> = nodes.collect();
        let night = Quiet {
            days: jiff::civil::Weekday::Monday.cycle_forward().take(7).collect(),
            from: Time::constant(22, 0, 0, 0),
            to: Time::constant(7, 0, 0, 0),
        };
        let quiet = if draw.is(50) { vec![night] } else { Vec::new() };
        let mut world = Self {
            draw,
            now: begin,
            begin,
            end: begin + SignedDuration::from_hours(HOURS),
            nodes,
            cloud: Known::default(),
            policy: Policy { quiet, ..Policy::default() },
            key: FireKey::new(&[7; 32]),
            events: BTreeMap::new(),
            count: 0,
            log: Vec::new(),
            rung: BTreeSet::new(),
            listed: BTreeSet::new(),
            added: 0,
        };
        world.write_script();
        world
    }

    fn push(&mut self, at: Timestamp, event: Event) {
        self.count += 1;
        self.events.insert((at, self.count), event);
    }

    fn write_script(&mut self) {
        for _ in 0..self.draw.between(12, 32) {
            let at = self.begin + SignedDuration::from_secs(self.draw.between(0, HOURS * 3600));
            let node = usize::try_from(self.draw.below(self.nodes.len() as u64)).unwrap();
            let event = match self.draw.below(20) {
                0 | 1 => Event::Power(node, self.draw.is(60)),
                2..=4 => Event::Run(node, self.draw.is(60)),
                5..=7 => Event::Online(node, self.draw.is(65)),
                8 => Event::Travel(node, self.draw.zone()),
                9 => Event::Permit(node, self.draw.is(75)),
                10 | 11 => Event::Use(node),
                12 => Event::Move(node),
                _ => Event::Add(node, Box::new(self.item(at))),
            };
            self.push(at, event);
        }
    }

    /// Something due within the time that is simulated, at a minute of its own.
    fn item(&mut self, now: Timestamp) -> Item {
        self.added += 1;
        let zone = TimeZone::get(self.draw.zone()).unwrap();
        let wall = zone.to_datetime(now + minutes(self.draw.between(10, 20 * 60)));
        let wall = wall.with().second(0).subsec_nanosecond(0).build().unwrap();
        let due = match self.draw.below(4) {
            0 => Start::Date(wall.date()),
            1 | 2 => Start::Floating(wall),
            _ => Start::Zoned(wall, zone),
        };
        let repeats = self.draw.is(35);
        let series = repeats.then(|| Series::new(Rule::parse("FREQ=DAILY").unwrap(), due.clone(), Gap::Shift).unwrap());
        let before = -i32::try_from(self.draw.between(0, 90)).unwrap();
        let nag = self.draw.is(25).then_some(Nag { minutes: 10, most: 2 });
        let primary = DeviceId([u8::try_from(self.draw.below(4)).unwrap(); 32]);
        Item {
            entity: format!("task {}", self.added),
            revision: 0,
            start: None,
            due: Some(due),
            deadline: None,
            series,
            settled: BTreeSet::new(),
            completions: Vec::new(),
            is_over: false,
            alarms: vec![Alarm {
                id: "a".to_owned(),
                trigger: Trigger::Relative { days: 0, minutes: before, of: Anchor::Due },
                nag,
            }],
            is_urgent: self.draw.is(20),
            is_medication: self.draw.is(15),
            who: match self.draw.below(4) {
                0 => Who::ActiveFirst { hold_s: 60 },
                1 => Who::Primary { device: primary, hold_s: 120 },
                _ => Who::All,
            },
        }
    }

    fn with_inputs<T>(&self, node: usize, ask: impl FnOnce(&Inputs<'_>) -> T) -> T {
        let node = &self.nodes[node];
        let items: Vec<Item> = node.known.items.values().cloned().collect();
        let (acks, policy, key) = (&node.known.acks, &self.policy, &self.key);
        ask(&Inputs { items: &items, acks, policy, zone: &node.zone, key })
    }

    /// Everything a device rings goes into the log, and must be right.
    fn ring(&mut self, at: usize, fire: &Fire) {
        let node = &self.nodes[at];
        assert!(node.is_live(), "a device rings that is off, not running, or may not");
        let what = (fire.entity.clone(), fire.occurrence);
        let is_over = node.known.ended.contains(&what) || node.known.seen.contains(&fire.first);
        assert!(!is_over, "{what:?} rings where it is known to be over");
        assert!(self.rung.insert((at, fire.id)), "{what:?} rings twice on one device");
        self.log.push((at, fire.first, self.now));
        let delay = SignedDuration::from_secs(self.draw.between(5, 900));
        let saying = match self.draw.below(10) {
            0..=2 => Saying::Ack,
            3 => Saying::Done,
            4 => Saying::Snooze(self.draw.between(10, 40)),
            _ => return,
        };
        self.push(self.now + delay, Event::Say(at, Box::new(fire.clone()), saying));
    }

    /// The program of a device looks at what is due, if it runs, and asks its system anew.
    fn refresh(&mut self, at: usize) {
        if !(self.nodes[at].is_on && self.nodes[at].is_running) {
            return;
        }
        let now = self.now;
        let mut ringer = self.nodes[at].ringer.clone();
        ringer.delivered(std::mem::take(&mut self.nodes[at].delivered), now);
        let used_at = self.nodes[at].used_at;
        let (woken, schedule, names) = self.with_inputs(at, |inputs| {
            let woken = ringer.wake(now, inputs, used_at);
            let schedule = ringer.schedule(now, inputs);
            let from = now - SignedDuration::from_hours(2);
            let names = plan(from, SignedDuration::from_hours(HOURS + 12), inputs);
            (woken, schedule, names.into_iter().map(|fire| (fire.id, fire)).collect())
        });
        assert!(
            ringer.device().pending_max.is_none_or(|most| schedule.pending.len() < most),
            "more is pending than the system takes"
        );
        let node = &mut self.nodes[at];
        (node.ringer, node.schedule, node.names) = (ringer, schedule, names);
        for ring in &woken.rings {
            match ring {
                Ring::One { fire, .. } => self.ring(at, fire),
                Ring::Digest(fires) => fires.iter().for_each(|fire| self.ring(at, fire)),
            }
        }
        self.listed.extend(woken.missed.iter().map(|fire| (fire.entity.clone(), fire.occurrence)));
        self.owe(at);
    }

    /// What a device must ring from now on as long as nothing happens: reckoned minute by minute, without the plan.
    fn owe(&mut self, at: usize) {
        let node = &self.nodes[at];
        // What is owed just now is still to be collected, unless it is over.
        let is_over = |first: &FireId, what: &(String, OccurrenceId)| {
            node.known.seen.contains(first) || node.known.ended.contains(what)
        };
        let is_open = |owed: &&Owed| owed.by <= self.now && !is_over(&owed.first, &owed.what);
        let mut owed: Vec<Owed> = node.owed.iter().filter(is_open).cloned().collect();
        if node.is_live() {
            for item in node.known.items.values() {
                let hold = match &item.who {
                    Who::All => 0,
                    Who::ActiveFirst { hold_s } => i64::from(*hold_s),
                    Who::Primary { device, .. } if *device == node.ringer.device().id => 0,
                    Who::Primary { hold_s, .. } => i64::from(*hold_s),
                };
                for (occurrence, said) in self.simply(item, &node.zone) {
                    let what = (item.entity.clone(), occurrence);
                    let first = self.first_name(item, occurrence);
                    if is_over(&first, &what) || item.settled.contains(&occurrence) {
                        continue;
                    }
                    let until = node.known.acks.snoozed_until(&first).filter(|until| *until > said);
                    let begin = until.unwrap_or_else(|| self.not_quiet(item, said, &node.zone));
                    let by = begin + SignedDuration::from_secs(hold);
                    // What the system does not take any more is asked for when the program runs again.
                    let is_out = node.is_phone && node.schedule.sentinel.is_some_and(|sentinel| by >= sentinel);
                    if by > self.now && !is_out && said > self.begin {
                        owed.push(Owed { by, what, first, after: until });
                    }
                }
            }
        }
        self.nodes[at].owed = owed;
    }

    fn first_name(&self, item: &Item, occurrence: OccurrenceId) -> FireId {
        let (occurrence, revision) = (occurrence.to_string(), item.revision.to_be_bytes());
        self.key.name(&[item.entity.as_bytes(), occurrence.as_bytes(), b"a", &revision])
    }

    /// When an item's alarm is, day by day.
    fn simply(&self, item: &Item, here: &TimeZone) -> Vec<(OccurrenceId, Timestamp)> {
        let Trigger::Relative { minutes: by, .. } = item.alarms[0].trigger else { return Vec::new() };
        let (first, zone, is_day) = match item.due.as_ref().unwrap() {
            Start::Date(date) => (date.at(9, 0, 0, 0), here, true),
            Start::Floating(wall) => (*wall, here, false),
            Start::Zoned(wall, zone) => (*wall, zone, false),
        };
        let days = if item.series.is_some() { 4 } else { 1 };
        let mut found = Vec::new();
        for day in 0..days {
            let wall = first + SignedDuration::from_hours(24 * day);
            let name = if is_day { OccurrenceId::Date(wall.date()) } else { OccurrenceId::Wall(wall) };
            found.push((name, zone.to_timestamp(wall).unwrap() + minutes(i64::from(by))));
        }
        found
    }

    fn not_quiet(&self, item: &Item, mut at: Timestamp, zone: &TimeZone) -> Timestamp {
        let is_quiet = |at: Timestamp| matches!(zone.to_datetime(at).hour(), 22.. | ..7);
        while !self.policy.quiet.is_empty() && !item.is_urgent && is_quiet(at) {
            let into = i64::from(zone.to_datetime(at).second());
            at += SignedDuration::from_secs(60 - into);
        }
        at
    }

    /// What was owed by now is in the log.
    fn collect(&mut self, tally: &mut Tally) {
        for at in 0..self.nodes.len() {
            let (due, owed): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.nodes[at].owed).into_iter().partition(|owed| owed.by <= self.now);
            self.nodes[at].owed = owed;
            for one in due {
                let is_it = |(node, first, when): &(usize, FireId, Timestamp)| {
                    *node == at && *first == one.first && one.after.is_none_or(|after| *when >= after)
                };
                assert!(self.log.iter().any(is_it), "device {at} owed {one:?} and did not ring");
                tally.owed += 1;
            }
        }
    }

    fn sync(&mut self, tally: &mut Tally) {
        let mut is_new = false;
        for _ in 0..2 {
            for at in 0..self.nodes.len() {
                let node = &mut self.nodes[at];
                if node.is_on && node.is_running && node.is_online {
                    self.cloud.merge(&node.known);
                    if node.known != self.cloud {
                        node.known = self.cloud.clone();
                        is_new = true;
                        self.refresh(at);
                    }
                }
            }
        }
        if !is_new {
            return;
        }
        let plans: Vec<_> = (0..self.nodes.len()).map(|at| self.plan_of(at)).collect();
        for (one, other) in (0..plans.len()).flat_map(|one| (0..one).map(move |other| (one, other))) {
            let (a, b) = (&self.nodes[one], &self.nodes[other]);
            if a.known == b.known && a.zone.iana_name() == b.zone.iana_name() {
                assert_eq!(plans[one], plans[other], "the same is known and another plan is made of it");
                tally.plans += 1;
            }
        }
    }

    fn plan_of(&self, at: usize) -> Vec<Fire> {
        self.with_inputs(at, |inputs| plan(self.now, SignedDuration::from_hours(HOURS), inputs))
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Power(at, is_on) => {
                let node = &mut self.nodes[at];
                // A phone's program runs a moment when it starts, to ask its system again.
                (node.is_on, node.is_running) = (is_on, is_on);
                node.schedule = Schedule::default();
                node.owed.clear();
                self.refresh(at);
            }
            Event::Run(at, is_running) => {
                let node = &mut self.nodes[at];
                node.is_running = is_running && node.is_on;
                if !node.is_phone {
                    node.owed.clear();
                }
                self.refresh(at);
            }
            Event::Online(at, is_online) => self.nodes[at].is_online = is_online,
            Event::Travel(at, zone) => {
                let node = &mut self.nodes[at];
                node.zone = TimeZone::get(zone).unwrap();
                // Systems wake a program when the zone changes.
                node.is_running = node.is_on;
                self.refresh(at);
            }
            Event::Permit(at, is_permitted) => {
                let node = &mut self.nodes[at];
                node.ringer.permit(is_permitted);
                node.is_running = node.is_on;
                node.owed.clear();
                if !is_permitted {
                    node.schedule = Schedule::default();
                }
                self.refresh(at);
            }
            Event::Use(at) => {
                let node = &mut self.nodes[at];
                if node.is_on {
                    (node.is_running, node.used_at) = (true, Some(self.now));
                    self.refresh(at);
                }
            }
            Event::Add(at, item) => {
                let node = &mut self.nodes[at];
                if node.is_on {
                    node.is_running = true;
                    node.known.items.insert(item.entity.clone(), *item);
                    self.refresh(at);
                }
            }
            Event::Move(at) => {
                let by = self.draw.between(31, 400);
                let node = &mut self.nodes[at];
                let Some(item) = node.known.items.values_mut().find(|item| item.series.is_none()) else { return };
                let later = |wall: &DateTime| *wall + minutes(by);
                item.due = item.due.as_ref().map(|due| match due {
                    Start::Date(date) => Start::Date(date.tomorrow().unwrap()),
                    Start::Floating(wall) => Start::Floating(later(wall)),
                    Start::Zoned(wall, zone) => Start::Zoned(later(wall), zone.clone()),
                });
                item.revision = item.revision * 16 + 1 + at as u64;
                node.is_running = node.is_on;
                self.refresh(at);
            }
            Event::Say(at, fire, saying) => {
                let now = self.now;
                let node = &mut self.nodes[at];
                if !node.is_on {
                    return;
                }
                (node.is_running, node.used_at) = (true, Some(now));
                let what = (fire.entity.clone(), fire.occurrence);
                match saying {
                    Saying::Ack => {
                        node.known.acks.ack(fire.first, now);
                        node.known.seen.insert(fire.first);
                    }
                    Saying::Done => {
                        if let Some(item) = node.known.items.get_mut(&fire.entity) {
                            item.settled.insert(fire.occurrence);
                        }
                        node.known.ended.insert(what);
                    }
                    Saying::Snooze(by) => node.known.acks.snooze(fire.first, now + minutes(by)),
                }
                self.refresh(at);
            }
        }
    }

    /// When a device rings next by itself.
    fn next_of(&self, at: usize) -> Option<Timestamp> {
        let node = &self.nodes[at];
        node.is_live().then(|| node.schedule.pending.first().map(|(_, at)| *at)).flatten()
    }

    /// A device's own time has come: its program wakes, or its system rings for it.
    fn come(&mut self, at: usize) {
        if self.nodes[at].is_running {
            return self.refresh(at);
        }
        while self.nodes[at].schedule.pending.first().is_some_and(|(_, at)| *at <= self.now) {
            let (id, _) = self.nodes[at].schedule.pending.remove(0);
            self.nodes[at].delivered.push(id);
            let fire = self.nodes[at].names[&id].clone();
            self.ring(at, &fire);
        }
    }

    fn run(mut self) -> Tally {
        let mut tally = Tally::default();
        for at in 0..self.nodes.len() {
            self.refresh(at);
        }
        loop {
            let own = (0..self.nodes.len()).filter_map(|at| Some((self.next_of(at)?, at))).min();
            let event = self.events.keys().next().copied();
            let is_own = own.is_some_and(|(at, _)| event.is_none_or(|(next, _)| at <= next));
            let Some(next) = (if is_own { own.map(|(at, _)| at) } else { event.map(|(at, _)| at) }) else { break };
            if next > self.end {
                break;
            }
            assert!(next >= self.now, "time goes on");
            self.now = next;
            match (is_own, own, event) {
                (true, Some((_, at)), _) => self.come(at),
                (_, _, Some(key)) => {
                    let event = self.events.remove(&key).unwrap();
                    self.happen(event);
                }
                _ => {}
            }
            // Everything of this moment rings before it is looked for.
            if (0..self.nodes.len()).all(|at| self.next_of(at).is_none_or(|next| next > self.now)) {
                self.collect(&mut tally);
            }
            self.sync(&mut tally);
        }
        self.heal(&mut tally);
        tally.rings = self.log.len();
        tally
    }

    /// In the end everything is on, permitted and joined: one thing is known, and nothing that happened once is lost.
    fn heal(&mut self, tally: &mut Tally) {
        self.now = self.end + minutes(1);
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            node.ringer.permit(true);
            (node.is_on, node.is_running, node.is_online) = (true, true, true);
            self.refresh(at);
        }
        self.sync(tally);
        assert!(self.nodes.iter().all(|node| node.known == self.cloud), "what is known does not converge");
        let names = |at: usize| -> BTreeSet<FireId> { self.plan_of(at).iter().map(|fire| fire.id).collect() };
        let here = self.nodes[0].zone.clone();
        let all: Vec<_> = (1..self.nodes.len()).filter(|at| self.nodes[*at].zone == here).map(&names).collect();
        assert!(all.iter().all(|plan| *plan == names(0)), "names differ where the same is known");
        for item in self.cloud.items.values().filter(|item| item.series.is_none()) {
            for (at, node) in self.nodes.iter().enumerate() {
                let (name, when) = self.simply(item, &node.zone)[0];
                let what = (item.entity.clone(), name);
                let is_due = when > self.begin && self.not_quiet(item, when, &node.zone) < self.end - minutes(10);
                let first = self.first_name(item, name);
                let is_open = !self.cloud.ended.contains(&what)
                    && !self.cloud.seen.contains(&first)
                    && self.cloud.acks.snoozed_until(&first).is_none();
                let is_told = self.log.iter().any(|(of, rung, _)| *of == at && *rung == first)
                    || self.listed.contains(&what)
                    || node.ringer.is_handled(&first);
                assert!(!is_due || !is_open || is_told, "device {at} has lost {what:?}");
            }
        }
        let before = self.log.len();
        for at in 0..self.nodes.len() {
            self.refresh(at);
        }
        assert_eq!(self.log.len(), before, "what was said once is said again");
    }
}

/// Simulates schedules from a seed on, each from a seed of its own, which is told when one fails.
pub(super) fn simulate(from: u64, count: u64) -> Tally {
    let mut sum = Tally::default();
    for seed in from..from + count {
        let ran = std::panic::catch_unwind(|| World::new(seed).run());
        let tally = ran.unwrap_or_else(|_| panic!("seed {seed}: LIFEOS_SEED={seed} LIFEOS_SCHEDULES=1 runs it again"));
        sum.rings += tally.rings;
        sum.owed += tally.owed;
        sum.plans += tally.plans;
    }
    sum
}
