//! Properties that hold in all circumstances.

mod world;

use proptest::prelude::*;
use standin_config::Mode;
use standin_master::{Input, Phase, ProbeFailure};
use standin_protocol::body::PingReply;
use standin_protocol::control::{Datagram, DatagramKind, Probed, SENDER_CLIENT, SENDER_MASTER};
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, ServerStatus};
use world::{CLIENT, Health, World};

#[derive(Debug, Clone)]
enum Fault {
    Set(u16, Health),
    Cut(u16, bool),
    Start(u16),
    Report(u16),
    ReportByServer(u16, u16),
    ReportOk(u16),
    Leave(u16),
    Disk(bool),
    RestartMaster { with_file: bool },
    Run(u64),
}

fn fault() -> impl Strategy<Value = Fault> {
    let id = 0u16..4;
    let health = prop_oneof![
        Just(Health::Up),
        Just(Health::Dead),
        Just(Health::Paused),
        Just(Health::Gray),
        Just(Health::Deaf)
    ];
    prop_oneof![
        3 => (id.clone(), health).prop_map(|(id, health)| Fault::Set(id, health)),
        2 => (id.clone(), any::<bool>()).prop_map(|(id, is_cut)| Fault::Cut(id, is_cut)),
        2 => id.clone().prop_map(Fault::Start),
        3 => id.clone().prop_map(Fault::Report),
        2 => (id.clone(), id.clone()).prop_map(|(by, of)| Fault::ReportByServer(by, of)),
        1 => id.clone().prop_map(Fault::ReportOk),
        1 => id.prop_map(Fault::Leave),
        1 => any::<bool>().prop_map(Fault::Disk),
        1 => any::<bool>().prop_map(|with_file| Fault::RestartMaster { with_file }),
        6 => (0u64..3_000).prop_map(Fault::Run),
    ]
}

/// Whether a server is marked offline, or will be because it has said that it leaves.
fn is_out(world: &World, id: u16) -> bool {
    let state = world.machine.registry().decided()[usize::from(id)].state;
    matches!(state, ServerState::Offline | ServerState::Leaving)
}

fn apply(world: &mut World, fault: &Fault) {
    match *fault {
        Fault::Set(id, health) => world.set(id, health),
        Fault::Cut(id, is_cut) => world.model(id).is_cut = is_cut,
        Fault::Start(id) => world.start(id),
        Fault::Report(id) => world.report_by_client(id),
        Fault::ReportByServer(by, of) => world.report_by_server(by, of),
        Fault::ReportOk(id) => world.report_ok_by_client(id),
        Fault::Leave(id) => world.leave(id),
        Fault::Disk(ok) => world.disk_ok = ok,
        Fault::RestartMaster { with_file } => {
            // If the file is lost and every server has restarted, all memory is lost, and no rule
            // can help. So the master starts without its file only while some server still knows
            // the states, and it hears from that server.
            let somebody_knows =
                world.servers.iter().all(|s| s.health == Health::Up) && world.is_converged();
            let saved = world.saved.clone();
            if with_file || !somebody_knows {
                world.restart_master(saved.as_ref());
            } else {
                world.restart_master(None);
                let loss_percent = std::mem::take(&mut world.loss_percent);
                world.run_ms(600);
                world.loss_percent = loss_percent;
            }
        }
        Fault::Run(ms) => world.run_ms(ms),
    }
}

fn status() -> impl Strategy<Value = ServerStatus> {
    (0..ServerState::ALL.len(), any::<u64>(), any::<u64>()).prop_map(|(state, since, boot_id)| {
        ServerStatus { state: ServerState::ALL[state], since: MapEpoch::from_u64(since), boot_id }
    })
}

fn small_or_any() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..8, (0u64..4, 0u64..8).prop_map(|(t, c)| t << 32 | c), any::<u64>()]
}

fn input() -> impl Strategy<Value = InputPlan> {
    let sender = prop_oneof![0u16..6, Just(SENDER_MASTER), Just(SENDER_CLIENT)];
    let datagram = (
        0usize..DatagramKind::ALL.len(),
        sender,
        0u16..6,
        small_or_any(),
        small_or_any(),
        small_or_any(),
    )
        .prop_map(|(kind, sender, subject, boot_id, sequence, epoch)| InputPlan::Datagram {
            kind: DatagramKind::ALL[kind],
            sender,
            subject,
            boot_id,
            sequence,
            epoch,
        });
    let answer = prop_oneof![
        (small_or_any(), small_or_any(), 0u16..5, 0u16..3).prop_map(
            |(boot_id, map_epoch, server, shard)| Ok(PingReply {
                boot_id,
                map_epoch,
                drained_epoch: map_epoch,
                server,
                shard,
                ..PingReply::default()
            })
        ),
        Just(Err(ProbeFailure::Refused)),
        Just(Err(ProbeFailure::Timeout)),
        Just(Err(ProbeFailure::NotTried)),
    ];
    let answers = prop::collection::vec(answer, 0..4);
    prop_oneof![
        4 => datagram,
        2 => (0u16..6, 0u64..12, answers).prop_map(|(server, probe_id, shards)| {
            InputPlan::Probed { server, probe_id, shards }
        }),
        1 => (0u16..6, small_or_any(), prop::collection::vec(status(), 0..5))
            .prop_map(|(server, epoch, statuses)| InputPlan::Fetched { server, epoch, statuses }),
        1 => (small_or_any(), any::<bool>())
            .prop_map(|(epoch, ok)| InputPlan::Persisted { epoch, ok }),
        3 => (0u64..2_500).prop_map(InputPlan::Run),
    ]
}

#[derive(Debug, Clone)]
enum InputPlan {
    Datagram {
        kind: DatagramKind,
        sender: u16,
        subject: u16,
        boot_id: u64,
        sequence: u64,
        epoch: u64,
    },
    Probed {
        server: u16,
        probe_id: u64,
        shards: Vec<Result<PingReply, ProbeFailure>>,
    },
    Fetched {
        server: u16,
        epoch: u64,
        statuses: Vec<ServerStatus>,
    },
    Persisted {
        epoch: u64,
        ok: bool,
    },
    Run(u64),
}

proptest! {
    /// The world checks the epochs. It also checks that no owner changes while the previous owner
    /// may still act as one. When the faults stop, everything converges.
    #[test]
    fn epochs_and_owners_are_consistent_and_the_cluster_converges_after_faults(
        faults in prop::collection::vec(fault(), 1..40),
        groups in prop_oneof![Just(&[2, 2][..]), Just(&[4][..]), Just(&[3, 1][..])],
        is_strict: bool,
        loss_percent in prop_oneof![Just(0u64), Just(10u64), Just(40u64)],
        seed: u64,
    ) {
        let mode = if is_strict { Mode::Strict } else { Mode::Available };
        let mut world = World::converged_in(mode, groups);
        world.seed(seed);
        world.loss_percent = loss_percent;
        for fault in &faults {
            apply(&mut world, fault);
        }
        world.loss_percent = 0;
        world.disk_ok = true;
        for id in world.ids() {
            world.model(id).is_cut = false;
            match world.servers[usize::from(id)].health {
                // A server that has left does not resume, but starts as a new incarnation.
                Health::Dead => world.start(id),
                _ if is_out(&world, id) => world.start(id),
                _ => world.set(id, Health::Up),
            }
        }
        // A LEAVING that is still under way can end a server for good, because that incarnation is
        // over.
        world.run_ms(10);
        for id in world.ids() {
            if is_out(&world, id) {
                world.start(id);
            }
        }
        world.run_until("the cluster heals", World::is_converged);
    }

    /// No number of reports marks a server that only its peers reach, while one of them is there.
    #[test]
    fn c19_no_number_of_reports_marks_a_server_that_answers_its_peers(
        reports in prop::collection::vec((0u16..3, 0u16..4, 0u64..400), 1..60),
    ) {
        let mut world = World::converged(&[3]);
        world.model(0).is_cut = true;
        for (subject, by, pause_ms) in reports {
            match by {
                by if by < 3 && by != subject => world.report_by_server(by, subject),
                _ => world.report_by_client(subject),
            }
            world.run_ms(pause_ms);
        }
        world.run_ms(5_000);
        for id in world.ids() {
            prop_assert!(!world.has("waiting", id) && !world.has("offline", id));
        }
    }

    /// Claim 19: a server that answers every probe is never marked offline, whatever is reported by
    /// any party, and however many datagrams are lost.
    #[test]
    fn c19_no_number_of_reports_marks_an_answering_server(
        reports in prop::collection::vec((0u16..4, 0u16..5, 0u64..400), 1..80),
        loss_percent in 0u64..95,
        seed: u64,
    ) {
        let mut world = World::converged(&[2, 2]);
        world.seed(seed);
        world.loss_percent = loss_percent;
        for (subject, by, pause_ms) in reports {
            match by {
                by if by < 4 && by != subject => world.report_by_server(by, subject),
                _ => world.report_by_client(subject),
            }
            world.run_ms(pause_ms);
        }
        world.run_ms(5_000);
        for id in world.ids() {
            let is_marked = world.has("offline", id) || world.has("waiting", id);
            prop_assert!(!is_marked, "{:?}", world.events);
            let is_frozen = matches!(world.machine.phase(id), Phase::Frozen { .. });
            prop_assert!(!is_frozen);
        }
    }

    /// No input, in any order, makes the machine panic, break an epoch, or loop without progress.
    #[test]
    fn any_input_is_survived(inputs in prop::collection::vec(input(), 1..60)) {
        let mut world = World::converged(&[2, 2]);
        world.checks_owners = false;
        for plan in inputs {
            let input = match plan {
                InputPlan::Datagram { kind, sender, subject, boot_id, sequence, epoch } => {
                    let mut datagram = Datagram::new(kind, sender, world.topology.id, boot_id);
                    datagram.subject = subject;
                    datagram.sequence = sequence;
                    datagram.epoch = MapEpoch::from_u64(epoch);
                    datagram.arg = u32::from(subject) % 4;
                    datagram.nonce = 1 << 32 | sequence;
                    if kind == DatagramKind::ProbeResult {
                        let map_epoch = datagram.epoch;
                        datagram.probed = Some(Probed { boot_id: epoch, map_epoch });
                    }
                    Input::Datagram { from: CLIENT, datagram }
                }
                InputPlan::Probed { server, probe_id, shards } => {
                    Input::Probed { server, probe_id, shards }
                }
                InputPlan::Fetched { server, epoch, statuses } => {
                    let epoch = MapEpoch::from_u64(epoch);
                    let map = ClusterMap::new(world.topology.clone(), epoch, statuses);
                    Input::Fetched { server, map: Some(Box::new(map)) }
                }
                InputPlan::Persisted { epoch, ok } => {
                    Input::Persisted { epoch: MapEpoch::from_u64(epoch), ok }
                }
                InputPlan::Run(ms) => {
                    world.run_ms(ms);
                    continue;
                }
            };
            world.inject(input);
        }
        world.run_ms(10_000);
    }
}
