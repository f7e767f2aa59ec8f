//! Notices to the master and its verdicts (claims 10 and 14). There is at most one open notice per
//! server. It is sent again with doubling pauses until the verdict with its nonce arrives.

use std::time::Duration;

use standin_protocol::control::{Datagram, DatagramKind, SENDER_CLIENT};
use standin_protocol::map::MapEpoch;
use standin_protocol::time::Micros;

use crate::random::Random;

#[derive(Debug, Clone, Copy)]
struct Notice {
    kind: DatagramKind,
    server: u16,
    attempts: u32,
    nonce: u64,
    sends: u32,
    next_at: Micros,
}

/// The open notices of one client.
#[derive(Debug)]
pub(crate) struct Notices {
    client_id: u64,
    sequence: u64,
    resend: Duration,
    sends_max: u32,
    open: Vec<Notice>,
    random: Random,
}

impl Notices {
    pub(crate) fn new(client_id: u64, resend: Duration, sends_max: u32, seed: u64) -> Self {
        let random = Random::new(seed);
        Self { client_id, sequence: 0, resend, sends_max, open: Vec::new(), random }
    }

    /// Opens a notice, which replaces the server's older one and is due now. Returns its nonce.
    pub(crate) fn open(
        &mut self,
        now: Micros,
        kind: DatagramKind,
        server: u16,
        attempts: u32,
    ) -> u64 {
        let nonce = self.random.next();
        self.open.retain(|notice| notice.server != server);
        self.open.push(Notice { kind, server, attempts, nonce, sends: 0, next_at: now });
        nonce
    }

    /// Closes all notices, because the topology has changed.
    pub(crate) fn clear(&mut self) {
        self.open.clear();
    }

    /// Closes the notice with this nonce, if there is one.
    pub(crate) fn close(&mut self, server: u16, nonce: u64) -> bool {
        let before = self.open.len();
        self.open.retain(|notice| notice.nonce != nonce || notice.server != server);
        self.open.len() < before
    }

    /// Returns the next datagram that is due.
    pub(crate) fn due(
        &mut self,
        now: Micros,
        topology_id: u64,
        epoch: MapEpoch,
    ) -> Option<Datagram> {
        let (resend, sends_max) = (self.resend, self.sends_max);
        self.open.retain(|notice| notice.next_at > now || notice.sends < sends_max);
        let notice = self.open.iter_mut().find(|notice| notice.next_at <= now)?;
        notice.next_at = now + resend * (1 << notice.sends.min(6));
        notice.sends += 1;
        self.sequence += 1;
        let mut datagram = Datagram::new(notice.kind, SENDER_CLIENT, topology_id, self.client_id);
        datagram.subject = notice.server;
        datagram.sequence = self.sequence;
        datagram.epoch = epoch;
        datagram.nonce = notice.nonce;
        datagram.arg = notice.attempts;
        Some(datagram)
    }

    pub(crate) fn next_deadline(&self) -> Option<Micros> {
        self.open.iter().map(|notice| notice.next_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESEND: Duration = Duration::from_millis(100);

    fn sends_until_quiet(notices: &mut Notices) -> Vec<(u64, u64)> {
        let mut sent = Vec::new();
        while let Some(now) = notices.next_deadline() {
            while let Some(datagram) = notices.due(now, 1, MapEpoch::default()) {
                sent.push((now.as_millis(), datagram.sequence));
            }
        }
        sent
    }

    #[test]
    fn a_notice_is_sent_again_with_doubling_pauses_and_a_bound() {
        let mut notices = Notices::new(5, RESEND, 4, 1);
        notices.open(Micros(0), DatagramKind::ReportFailed, 2, 3);
        assert_eq!(sends_until_quiet(&mut notices), [(0, 1), (100, 2), (300, 3), (700, 4)]);
    }

    #[test]
    fn a_notice_stays_open_for_the_verdict_on_its_last_send() {
        let mut notices = Notices::new(5, RESEND, 2, 1);
        let nonce = notices.open(Micros(0), DatagramKind::ReportFailed, 2, 3);
        let mut due = |ms: u64| notices.due(Micros(ms * 1_000), 1, MapEpoch::default()).is_some();
        assert_eq!([0, 100, 150, 299].map(&mut due), [true, true, false, false]);
        assert!(notices.close(2, nonce));
    }

    #[test]
    fn no_notice_is_sent_about_servers_that_are_no_longer_known() {
        let mut notices = Notices::new(5, RESEND, 4, 1);
        let nonce = notices.open(Micros(0), DatagramKind::ReportFailed, 2, 3);
        notices.clear();
        assert!(notices.due(Micros(0), 1, MapEpoch::default()).is_none());
        assert_eq!(notices.next_deadline(), None);
        assert!(!notices.close(2, nonce));
    }

    #[test]
    fn a_verdict_closes_its_notice() {
        let mut notices = Notices::new(5, RESEND, 4, 1);
        let nonce = notices.open(Micros(0), DatagramKind::ReportFailed, 2, 3);
        let datagram = notices.due(Micros(0), 77, MapEpoch { term: 1, counter: 2 }).unwrap();
        assert_eq!((datagram.kind, datagram.subject), (DatagramKind::ReportFailed, 2));
        assert_eq!((datagram.arg, datagram.nonce, datagram.topology_id), (3, nonce, 77));
        assert!(!notices.close(2, nonce ^ 1), "another nonce");
        assert!(!notices.close(3, nonce), "another server");
        assert!(notices.close(2, nonce));
        assert_eq!(notices.next_deadline(), None);
    }

    #[test]
    fn the_newer_notice_about_a_server_replaces_the_older() {
        let mut notices = Notices::new(5, RESEND, 4, 1);
        let failed = notices.open(Micros(0), DatagramKind::ReportFailed, 2, 3);
        notices.open(Micros(0), DatagramKind::ReportOk, 2, 0);
        notices.open(Micros(0), DatagramKind::ReportFailed, 1, 2);
        let due: Vec<_> =
            std::iter::from_fn(|| notices.due(Micros(0), 1, MapEpoch::default())).collect();
        let kinds: Vec<_> = due.iter().map(|d| (d.kind, d.subject)).collect();
        assert_eq!(kinds, [(DatagramKind::ReportOk, 2), (DatagramKind::ReportFailed, 1)]);
        assert!(!notices.close(2, failed));
    }
}
