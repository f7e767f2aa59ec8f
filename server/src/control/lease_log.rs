//! What the log says of this server's right to act as an owner. Pure.

use std::time::Duration;

use standin_protocol::time::Micros;

/// The longest time without a lease, after this server has been an orphan, that is no news. The master is heard
/// before it grants the next lease.
const GRACE: Duration = Duration::from_secs(1);

/// The state that the log has last told.
#[derive(Debug, Default)]
pub(super) struct LeaseLog(Told);

#[derive(Debug, Default, Clone, Copy)]
enum Told {
    /// It may act as an owner, as far as the map says that it is one.
    #[default]
    Owner,
    /// It goes on without the master.
    Orphan,
    /// It was an orphan until this time, and waits for a lease.
    Between(Micros),
    /// It may not act as an owner.
    Lost,
}

/// What the log has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It goes on without the master.
    GoesOnAlone,
    /// It does so no longer, because the master is back.
    IsAloneNoMore,
    /// Its lease has expired, and it may not go on.
    Lost,
    /// It may act as an owner again.
    Again,
}

impl LeaseLog {
    /// Takes note of the state of now.
    pub(super) fn look(&mut self, now: Micros, is_orphan: bool, is_lost: bool) -> Option<News> {
        let (told, news) = match (self.0, is_orphan, is_lost) {
            (Told::Orphan | Told::Between(_), true, _) => (Told::Orphan, None),
            (_, true, _) => (Told::Orphan, Some(News::GoesOnAlone)),
            (Told::Orphan, false, true) => (Told::Between(now), None),
            (Told::Between(since), false, true) if now < since + GRACE => (self.0, None),
            (Told::Owner | Told::Between(_), false, true) => (Told::Lost, Some(News::Lost)),
            (Told::Lost, false, true) => (Told::Lost, None),
            (Told::Orphan | Told::Between(_), false, false) => {
                (Told::Owner, Some(News::IsAloneNoMore))
            }
            (Told::Lost, false, false) => (Told::Owner, Some(News::Again)),
            (Told::Owner, false, false) => (Told::Owner, None),
        };
        self.0 = told;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The news of states `(ms, is_orphan, is_lost)`.
    fn news(states: &[(u64, bool, bool)]) -> Vec<Option<News>> {
        let mut log = LeaseLog::default();
        let look = |(ms, is_orphan, is_lost): &(u64, bool, bool)| {
            log.look(Micros(ms * 1_000), *is_orphan, *is_lost)
        };
        states.iter().map(look).collect()
    }

    #[test]
    fn an_outage_of_the_master_that_an_orphan_survives_is_no_loss() {
        let outage = [
            (0, false, false),
            (1, true, false),
            (2, true, false),
            (3, false, true),
            (5, false, false),
        ];
        let told = [None, Some(News::GoesOnAlone), None, None, Some(News::IsAloneNoMore)];
        assert_eq!(news(&outage), told);
        assert_eq!(news(&[(1, true, false), (3, false, false)])[1], Some(News::IsAloneNoMore));
    }

    #[test]
    fn a_lease_that_is_lost_is_told_at_once_and_after_an_orphan_when_it_lasts() {
        let lost = [(0, false, true), (1, false, true), (2, false, false), (3, false, false)];
        assert_eq!(news(&lost), [Some(News::Lost), None, Some(News::Again), None]);
        let after =
            [(0, true, false), (1, false, true), (1_000, false, true), (1_001, false, true)];
        assert_eq!(news(&after), [Some(News::GoesOnAlone), None, None, Some(News::Lost)]);
        let back = [(0, true, false), (1, false, true), (2, true, false)];
        assert_eq!(news(&back), [Some(News::GoesOnAlone), None, None], "it is no news");
        let again = [(0, false, true), (1, true, false)];
        assert_eq!(news(&again), [Some(News::Lost), Some(News::GoesOnAlone)]);
    }
}
