//! What happens when: pure, and the same for the same seed and duration.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use webhookdb_notifications::demo::StopMode;

use super::tables;

/// Subscriptions that are there from before the first change until the end; the first is the witness.
pub(super) const PERMANENT: [Scope; 6] = [
    Scope::Organization,
    Scope::Organization,
    Scope::Integration(tables::CHARGES),
    Scope::Integration(tables::CUSTOMERS),
    Scope::Integration(tables::MESSAGES),
    Scope::Integration(tables::EVENTS),
];

/// Everything but the load, which [`Writer`](super::load::Writer) gives for the same seed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) seed: u64,
    /// How long there is load and trouble; then everything has to arrive.
    pub(super) duration: Duration,
    /// Catalog and source in one database, or each on a server of its own.
    pub(super) one_database: bool,
    /// In the order of their times.
    pub(super) faults: Vec<(Duration, Fault)>,
    /// Subscriptions that come and mostly go.
    pub(super) guests: Vec<Guest>,
    /// One for each endpoint: those of [`PERMANENT`] first, then the guests'.
    pub(super) weathers: Vec<Vec<Spell>>,
}

/// What a subscription is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Organization,
    /// By its place in [`tables::ALL`].
    Integration(usize),
}

/// A subscription that is made while the load runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Guest {
    pub(super) scope: Scope,
    pub(super) comes: Duration,
    /// None: it stays.
    pub(super) goes: Option<Duration>,
}

/// What befalls daemon and servers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    /// SIGKILL, and a new daemon so much later.
    Kill {
        down: Duration,
    },
    /// SIGTERM, and a new daemon so much later.
    Terminate {
        down: Duration,
    },
    TerminateWalsender,
    /// Every session of the program, the walsender among them.
    TerminateSessions,
    RestartSource {
        mode: StopMode,
        down: Duration,
    },
    /// The server of catalog and outbox goes for a while.
    CatalogAway {
        mode: StopMode,
        down: Duration,
        meanwhile: Meanwhile,
    },
    /// A second daemon stands by and the first is killed.
    Takeover {
        standing_by: Duration,
    },
    /// The daemon is stopped for so long that the one that stands by takes over; then it goes on.
    Freeze {
        frozen: Duration,
    },
}

/// What happens to the daemon while the catalog is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meanwhile {
    Nothing,
    Kill,
    Terminate,
    TerminateWalsender,
}

/// How an endpoint is up to a time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spell {
    pub(super) until: Duration,
    pub(super) weather: Weather,
}

/// How an endpoint answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    Fair,
    Slow,
    Failing,
    Busy,
    Hanging,
    Resetting,
    /// Accepts, and the answer breaks off in the middle or never comes.
    LosingAnswers,
    /// Any of these, from request to request.
    Mixed,
}

impl Weather {
    pub(super) const FOUL: [Self; 7] =
        [Self::Slow, Self::Failing, Self::Busy, Self::Hanging, Self::Resetting, Self::LosingAnswers, Self::Mixed];
}

impl Plan {
    /// The plan of this seed.
    pub(super) fn new(seed: u64, duration: Duration) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let one_database = rng.random_bool(0.3);
        let faults = faults(&mut rng, duration, one_database);
        let guests = guests(&mut rng, duration);
        let weathers = (0..PERMANENT.len() + guests.len()).map(|_| spells(&mut rng, duration)).collect();
        Self { seed, duration, one_database, faults, guests, weathers }
    }

    /// The scope of an endpoint's subscription.
    pub(super) fn scope(&self, endpoint: usize) -> Scope {
        PERMANENT.get(endpoint).copied().unwrap_or_else(|| self.guests[endpoint - PERMANENT.len()].scope)
    }

    /// The size of the batches that an endpoint's subscription asks for, where it does.
    pub(super) fn batch(&self, endpoint: usize) -> Option<usize> {
        (endpoint % 3 == 1).then(|| [3, 20, 100][(self.seed as usize).wrapping_add(endpoint) % 3])
    }

    /// How an endpoint is at this time.
    pub(super) fn weather(&self, endpoint: usize, at: Duration) -> Weather {
        let spell = self.weathers[endpoint].iter().find(|spell| at < spell.until);
        spell.map_or(Weather::Fair, |spell| spell.weather)
    }
}

/// Decks of every kind, shuffled one after the other, so that a short run meets each kind too.
fn faults(rng: &mut StdRng, duration: Duration, one_database: bool) -> Vec<(Duration, Fault)> {
    let mut faults = Vec::new();
    let mut at = millis(rng, 1_000, 2_000);
    loop {
        let mut deck = deck(rng, one_database);
        deck.shuffle(rng);
        for fault in deck {
            if at + fault.takes() > duration.mul_f64(0.9) {
                return faults;
            }
            let takes = fault.takes();
            faults.push((at, fault));
            at += takes + millis(rng, 300, 2_500);
        }
    }
}

fn deck(rng: &mut StdRng, one_database: bool) -> Vec<Fault> {
    let mut deck = vec![
        Fault::Kill { down: millis(rng, 0, 1_000) },
        Fault::Kill { down: millis(rng, 0, 3_000) },
        Fault::Terminate { down: millis(rng, 0, 1_000) },
        Fault::TerminateWalsender,
        Fault::TerminateSessions,
        Fault::RestartSource { mode: StopMode::Immediate, down: millis(rng, 0, 1_500) },
        Fault::RestartSource { mode: StopMode::Fast, down: millis(rng, 0, 1_500) },
        Fault::Takeover { standing_by: millis(rng, 200, 1_500) },
    ];
    if rng.random_bool(0.5) {
        deck.push(Fault::Freeze { frozen: millis(rng, 4_000, 8_000) });
    }
    if !one_database {
        for mode in [StopMode::Immediate, StopMode::Fast] {
            let all = [Meanwhile::Nothing, Meanwhile::Kill, Meanwhile::Terminate, Meanwhile::TerminateWalsender];
            let meanwhile = all[rng.random_range(0..all.len())];
            deck.push(Fault::CatalogAway { mode, down: millis(rng, 500, 6_000), meanwhile });
        }
    }
    deck
}

impl Fault {
    /// About how long it takes.
    fn takes(&self) -> Duration {
        let own = match self {
            Self::Kill { down } | Self::Terminate { down } | Self::RestartSource { down, .. } => *down,
            Self::TerminateWalsender | Self::TerminateSessions => Duration::ZERO,
            Self::CatalogAway { down, .. } => *down,
            Self::Takeover { standing_by } => *standing_by,
            Self::Freeze { frozen } => *frozen + Duration::from_secs(1),
        };
        own + Duration::from_millis(300)
    }
}

fn guests(rng: &mut StdRng, duration: Duration) -> Vec<Guest> {
    let mut guests = Vec::new();
    let mut at = millis(rng, 500, 3_000);
    while at < duration.mul_f64(0.85) {
        let scope = match rng.random_range(0..=tables::ALL.len()) {
            0 => Scope::Organization,
            table => Scope::Integration(table - 1),
        };
        let goes = at + millis(rng, 3_000, 15_000);
        guests.push(Guest { scope, comes: at, goes: (goes < duration.mul_f64(0.95)).then_some(goes) });
        at += millis(rng, 3_000, 9_000);
    }
    guests
}

/// Fair and foul by turns, fair at the end.
fn spells(rng: &mut StdRng, duration: Duration) -> Vec<Spell> {
    let mut spells = Vec::new();
    let mut until = Duration::ZERO;
    loop {
        until += millis(rng, 500, 6_000);
        spells.push(Spell { until, weather: Weather::Fair });
        until += millis(rng, 500, 5_000);
        if until > duration.mul_f64(0.9) {
            return spells;
        }
        spells.push(Spell { until, weather: Weather::FOUL[rng.random_range(0..Weather::FOUL.len())] });
    }
}

fn millis(rng: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.random_range(from..=to))
}
