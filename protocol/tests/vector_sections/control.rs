//! UDP: one datagram of each kind, with and without a secret.

use serde_json::{Value, json};
use standin_protocol::auth::ClusterKey;
use standin_protocol::control::{
    Datagram, DatagramKind, ProbeOutcome, Probed, ReplayWindow, SENDER_CLIENT, SENDER_MASTER,
    gossip_flags,
};
use standin_protocol::map::ServerState;

use super::wide;
use crate::support::{epoch, hex, map_with_trouble, status};

pub(super) fn datagrams() -> Vec<Value> {
    let map = map_with_trouble(16);
    let of_each_kind = DatagramKind::ALL.iter().map(|&kind| {
        let sender = match kind {
            DatagramKind::ReportFailed | DatagramKind::ReportOk => SENDER_CLIENT,
            DatagramKind::Verdict
            | DatagramKind::Grant
            | DatagramKind::Announce
            | DatagramKind::AskProbe => SENDER_MASTER,
            DatagramKind::Renew
            | DatagramKind::Ack
            | DatagramKind::Leaving
            | DatagramKind::Gossip
            | DatagramKind::ProbeResult => 1,
        };
        let mut datagram = Datagram::new(kind, sender, map.topology.id, 0x0102_0304_0506_0708);
        datagram.sequence = 40 + u64::from(kind as u8);
        datagram.epoch = epoch(3, 8);
        datagram.nonce = 0xA0A1_A2A3_A4A5_A6A7;
        match kind {
            DatagramKind::ReportFailed => datagram.arg = 2,
            DatagramKind::Grant => datagram.arg = 2_000,
            DatagramKind::Verdict => datagram.arg = ServerState::Offline as u32,
            DatagramKind::Announce => {
                datagram.subject = 3;
                datagram.arg = ServerState::Returning as u32;
            }
            DatagramKind::Gossip => datagram.arg = gossip_flags::MASTER_LOST,
            DatagramKind::ProbeResult => {
                datagram.arg = ProbeOutcome::Answered as u32;
                datagram.subject = 2;
                let status = map.statuses()[2];
                let (boot_id, map_epoch) = (status.boot_id, epoch(3, 7));
                datagram.probed = Some(Probed { boot_id, map_epoch });
            }
            DatagramKind::AskProbe => datagram.subject = 2,
            DatagramKind::ReportOk
            | DatagramKind::Renew
            | DatagramKind::Ack
            | DatagramKind::Leaving => {}
        }
        datagram.recipient = match sender {
            SENDER_MASTER => 1,
            _ if kind == DatagramKind::Gossip => 2,
            _ => SENDER_MASTER,
        };
        if matches!(kind, DatagramKind::Verdict | DatagramKind::Announce | DatagramKind::Gossip) {
            datagram.statuses = map.statuses().to_vec();
        }
        vector(kind.name(), &datagram)
    });
    let mut announcement = Datagram::new(DatagramKind::Announce, SENDER_MASTER, map.topology.id, 3);
    (announcement.recipient, announcement.epoch) = (1, epoch(3, 9));
    announcement.statuses = vec![status(ServerState::Online, epoch(3, 1), 0x5555); 60];
    let parts = announcement.parts().into_iter().enumerate().map(|(at, part)| {
        let part = Datagram { sequence: 90 + at as u64, ..part };
        vector(&format!("ANNOUNCE to a cluster of 60 servers, part {}", at + 1), &part)
    });
    of_each_kind.chain(parts).collect()
}

fn vector(name: &str, datagram: &Datagram) -> Value {
    let secret: [u8; 32] = std::array::from_fn(|i| u8::try_from(i).expect("below 32"));
    let statuses: Value = datagram
        .statuses
        .iter()
        .map(|s| {
            json!({
                "since": wide(s.since.to_u64()), "boot_id": wide(s.boot_id),
                "state": s.state as u8,
            })
        })
        .collect();
    let probed = datagram.probed.map(|probed| {
        json!({
            "boot_id": wide(probed.boot_id), "map_epoch": wide(probed.map_epoch.to_u64()),
        })
    });
    json!({
        "name": name, "kind": datagram.kind as u8, "sender": datagram.sender,
        "recipient": datagram.recipient,
        "subject": datagram.subject, "topology_id": wide(datagram.topology_id),
        "boot_id": wide(datagram.boot_id), "sequence": datagram.sequence,
        "epoch": wide(datagram.epoch.to_u64()), "nonce": wide(datagram.nonce),
        "arg": datagram.arg, "first": datagram.first, "statuses": statuses, "probed": probed,
        "secret": hex(&secret),
        "hex_without_secret": hex(&datagram.to_bytes(None)),
        "hex_with_secret": hex(&datagram.to_bytes(Some(&ClusterKey::new(secret)))),
    })
}

pub(super) fn replay_windows() -> Vec<Value> {
    let runs: [&[u64]; 3] = [
        &[1, 1, 2, 5, 3, 3, 0],
        &[100, 37, 36, 99, 99, 163, 100, 101, 1_000, 936, 937],
        &[u64::MAX, u64::MAX, u64::MAX - 63, u64::MAX - 64],
    ];
    runs.iter()
        .map(|run| {
            let mut window = ReplayWindow::default();
            let steps: Value = run
                .iter()
                .map(|n| json!({ "sequence": wide(*n), "accepted": window.accept(*n) }))
                .collect();
            json!({ "steps": steps })
        })
        .collect()
}
