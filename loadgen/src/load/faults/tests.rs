//! What is read of `[[processes]]` and `[[faults]]`, and which mistakes are told.

use standin_config::{ConfigErrors, Mode, read_text};
use standin_protocol::map::ServerState;

use super::*;
use crate::faults::links::Harm;
use crate::faults::proxy::Way;
use crate::faults::script::{Awaited, Kind};

fn parse(text: &str) -> Result<Script, ConfigErrors> {
    read_text(text, "s.toml", Path::new("/runs"), |mut root, base_dir, report| {
        let script = read(&mut root, base_dir, (Script::default(), true), report);
        root.finish(report);
        script
    })
}

const CACHE: &str = "[[processes]]\nname = \"c\"\nkind = \"memcached\"\n";

#[test]
fn processes_and_faults_are_read() {
    let script = parse(
        "[[processes]]\nname = \"m1\"\nkind = \"memcached\"\narguments = [\"-v\"]\n\
         [[processes]]\nname = \"p\"\nkind = \"nutcracker\"\nservers = [\"m1\"]\nejects = true\n\
         [[processes]]\nname = \"own\"\ncommand = [\"./serve\", \"{port2}\", \"{m1}\", \"{\\\"a\\\": 1}\"]\nports = 2\n\
         [[processes]]\nname = \"st\"\nkind = \"standin\"\ngroup_size = 3\n\
         [[faults]]\nat = \"5s\"\nwhat = \"pause\"\non = \"m1\"\nfor = \"2s\"\n\
         [[faults]]\nat = \"1s\"\nwhat = \"kill\"\non = \"st-a2\"\nname = \"power cut\"\n\
         [[faults]]\nat = \"1s\"\nwhat = \"pause\"\npid = 77\n\
         [[faults]]\nat = \"1s\"\nwhat = \"terminate\"\nunit = \"redis\"\n\
         [[faults]]\nat = \"1s\"\ndo = [\"a\", \"b\"]\nundo = [\"c\"]\nfor = \"10ms\"\n",
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    let [m1, p, own, st] = &script.processes[..] else { panic!("four") };
    assert_eq!((&m1.kind, &m1.arguments[..]), (&Kind::Memcached, &["-v".to_owned()][..]));
    assert_eq!(p.kind, Kind::Nutcracker { servers: vec!["m1".to_owned()], ejects: true });
    assert_eq!(own.program.as_deref(), Some(Path::new("/runs/./serve")));
    assert_eq!((own.kind.clone(), own.arguments.len()), (Kind::Command { ports: 2 }, 3));
    assert_eq!(st.members(), ["st-a1", "st-a2", "st-a3", "st-master"]);
    let names: Vec<&str> = script.faults.iter().map(|fault| fault.name.as_str()).collect();
    assert_eq!(names, ["pause m1", "power cut", "pause process 77", "systemctl stop redis", "a b"]);
    assert_eq!(script.faults[0].line, 18);
}

#[test]
fn a_cut_is_from_whom_it_says_or_from_all_others() {
    let text = "[[processes]]\nname = \"a\"\nkind = \"redis\"\nnamespace = true\n\
         [[processes]]\nname = \"rc\"\nkind = \"redis-cluster\"\nreplicas = 0\nnamespace = true\n\
         [[faults]]\nat = \"1s\"\nwhat = \"cut\"\non = \"rc-1\"\n\
         [[faults]]\nat = \"2s\"\nwhat = \"lose\"\non = \"rc\"\nfrom = [\"client\"]\nway = \"to\"\nloss = 7\n\
         [[faults]]\nat = \"3s\"\nwhat = \"duplicate\"\non = \"rc\"\nfrom = [\"rc\", \"client\"]\nduplication = 3\n";
    let script = parse(text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(script.nodes(), ["a", "rc-1", "rc-2", "rc-3"]);
    let deeds: Vec<&Deed> = script.faults.iter().map(|fault| &fault.deed).collect();
    let [Deed::Network(cut), Deed::Network(lose), Deed::Network(twice)] = deeds[..] else {
        panic!("{deeds:?}")
    };
    assert_eq!(cut.on, ["rc-1"]);
    assert_eq!(cut.from, ["a", "rc-2", "rc-3", "client"]);
    assert_eq!((cut.way, cut.harm), (Way::Both, Harm::Cut));
    assert_eq!(lose.on.len(), 3);
    assert_eq!(lose.from, ["client"]);
    assert_eq!((lose.way, lose.harm), (Way::To, Harm::Lose { percent: 7, udp: false }));
    assert_eq!(twice.harm, Harm::Duplicate { percent: 3 });
    assert_eq!((twice.on.len(), twice.from.len()), (3, 4), "each of them with all others");
}

#[test]
fn a_fault_waits_for_what_the_master_of_a_cluster_announces() {
    let text = "[[processes]]\nname = \"st\"\nkind = \"standin\"\nmode = \"strict\"\n\
         [[faults]]\nat = \"1s\"\nwhat = \"terminate\"\non = \"st-a1\"\nfor = \"1s\"\n\
         [[faults]]\nafter = \"st-a1 online\"\nat = \"500ms\"\nwithin = \"3s\"\nwhat = \"kill\"\non = \"st-a2\"\n\
         [[faults]]\nafter = \"st-a2 offline\"\nwhat = \"restart\"\non = \"st-a2\"\n";
    let script = parse(text).unwrap_or_else(|errors| panic!("{errors}"));
    let Kind::Standin(cluster) = &script.processes[0].kind else { panic!("{script:?}") };
    assert_eq!(cluster.mode, Mode::Strict);
    let second = Duration::from_secs;
    let awaited = |server: &str, state, within_s| {
        Some(Awaited { server: server.to_owned(), state, within: second(within_s) })
    };
    let faults: Vec<_> = script.faults.iter().map(|one| (one.at, one.after.clone())).collect();
    assert_eq!(
        faults,
        [
            (second(1), None),
            (Duration::from_millis(500), awaited("st-a1", ServerState::Online, 3)),
            (Duration::ZERO, awaited("st-a2", ServerState::Offline, 10)),
        ]
    );
}

#[test]
fn mistakes_have_their_place_and_say_what_to_write() {
    let cluster = |text: &str| {
        format!(
            "[[processes]]\nname = \"s\"\nkind = \"standin\"\n[[faults]]\nwhat = \"kill\"\non = \"s-a1\"\n{text}\n"
        )
    };
    let fault = |text: &str| format!("{CACHE}[[faults]]\n{text}\n");
    let proxied = |text: &str| {
        let proxy = "[[processes]]\nname = \"p\"\nkind = \"proxy\"\nto = \"a:1\"\n";
        format!("{proxy}[[faults]]\nat = \"1s\"\non = \"p\"\n{text}\n")
    };
    let far = |text: &str| {
        let cluster = "[[processes]]\nname = \"rc\"\nkind = \"redis-cluster\"\nnamespace = true\n";
        format!("{CACHE}{cluster}[[faults]]\nat = \"1s\"\n{text}\n")
    };
    for (text, place, what) in [
        ("[[processes]]\nname = \"a\"".to_owned(), "1:1: processes.kind", "is missing"),
        ("[[processes]]\nkind = \"redis\"".to_owned(), "1:1: processes.name", "is missing"),
        (
            "[[processes]]\nname = \"A b\"\nkind = \"redis\"".to_owned(),
            "2:8: processes.name",
            "lower-case",
        ),
        (
            "[[processes]]\nname = \"port\"\nkind = \"redis\"".to_owned(),
            "2:8: processes.name",
            "lower-case",
        ),
        (
            "[[processes]]\nname = \"a\"\nkind = \"redis\"\nports = 1".to_owned(),
            "4:1: processes.ports",
            "another `kind`",
        ),
        (
            "[[processes]]\nname = \"a\"\nkind = \"nutcracker\"\nservers = [\"b\"]".to_owned(),
            "4:11: processes.servers",
            "no process \"b\"",
        ),
        (
            "[[processes]]\nname = \"a\"\ncommand = [\"x\", \"{port}\"]".to_owned(),
            "3:11: processes.command",
            "{port}",
        ),
        (
            "[[processes]]\nname = \"a\"\nkind = \"redis\"\ncommand = [\"x\"]".to_owned(),
            "4:11: processes.command",
            "remove it",
        ),
        (format!("{CACHE}{CACHE}"), "5:8: processes.name", "another process \"c\""),
        (
            "[[processes]]\nname = \"a\"\nkin = \"redis\"".to_owned(),
            "1:1: processes.kind",
            "is missing",
        ),
        (fault("what = \"kill\"\non = \"c\""), "4:1: faults.at", "is missing"),
        (cluster("after = \"s-a1\""), "7:9: faults.after", "a server and a state"),
        (cluster("after = \"s-a1 dead\""), "7:9: faults.after", "online, offline"),
        (cluster("after = \"s-a9 online\""), "7:9: faults.after", "write one of: s-a1, s-a2"),
        (cluster("after = \"s-master online\""), "7:9: faults.after", "write one of: s-a1, s-a2"),
        (cluster("at = \"1s\"\nwithin = \"1s\""), "8:10: faults.within", "`after`"),
        (
            fault("after = \"c online\"\nwhat = \"kill\"\non = \"c\""),
            "5:9: faults.after",
            "the scenario starts none",
        ),
        (
            "[[processes]]\nname = \"a\"\nkind = \"redis\"\nmode = \"strict\"".to_owned(),
            "4:1: processes.mode",
            "another `kind`",
        ),
        (fault("at = \"1s\"\non = \"c\""), "4:1: faults.what", "is missing"),
        (fault("at = \"1s\"\nwhat = \"kil\"\non = \"c\""), "6:8: faults.what", "\"kill\""),
        (fault("at = \"1s\"\nwhat = \"kill\""), "6:8: faults.what", "one object"),
        (fault("at = \"1s\"\nwhat = \"kill\"\non = \"d\""), "7:6: faults.on", "write one of: c"),
        (fault("at = \"1s\"\nwhat = \"kill\"\npid = 7"), "6:8: faults.what", "only be paused"),
        (fault("at = \"1s\"\nwhat = \"resume\"\nunit = \"u\""), "6:8: faults.what", "`for`"),
        (
            fault("at = \"1s\"\nwhat = \"restart\"\non = \"c\"\nfor = \"1s\""),
            "8:7: faults.for",
            "remove it",
        ),
        (fault("at = \"1s\"\ndo = [\"a\"]\nfor = \"1s\""), "7:7: faults.for", "`undo`"),
        (
            fault("at = \"1s\"\nundo = [\"a\"]\nwhat = \"kill\"\non = \"c\""),
            "6:8: faults.undo",
            "`do`",
        ),
        (fault("at = \"1s\"\nwhat = \"resume\"\non = \"c\""), "4:1: faults", "no pause of c"),
        (
            "[[processes]]\nname = \"a\"\nkind = \"proxy\"".to_owned(),
            "1:1: processes.to",
            "is missing",
        ),
        (
            "[[processes]]\nname = \"a\"\nkind = \"proxy\"\nto = \"b\"".to_owned(),
            "4:6: processes.to",
            "host:port",
        ),
        (
            "[[processes]]\nname = \"a\"\nkind = \"standin\"\ndatabase = \"b\"".to_owned(),
            "4:12: processes.database",
            "\"postgres\"",
        ),
        (fault("at = \"1s\"\nwhat = \"lock\"\non = \"c\""), "6:8: faults.what", "\"postgres\""),
        (
            "[[processes]]\nname = \"d\"\nkind = \"postgres\"\n[[faults]]\nat = \"1s\"\nwhat = \"kill\"\non = \"d\"".to_owned(),
            "6:8: faults.what",
            "a proxy before it",
        ),
        (
            "[[processes]]\nname = \"a\"\nkind = \"standin\"\nsurge_reads = 9".to_owned(),
            "4:15: processes.surge_reads",
            "add `database`",
        ),
        (proxied("what = \"slow\""), "8:8: faults.what", "needs `delay`"),
        (proxied("what = \"slow\"\nloss = 5\ndelay = \"1ms\""), "9:1: faults.loss", "`udp = true`"),
        (proxied("what = \"refuse\"\nway = \"to\""), "9:1: faults.way", "remove it"),
        (proxied("what = \"stall\"\ndelay = \"1ms\""), "9:1: faults.delay", "remove it"),
        (proxied("what = \"reset\"\nfor = \"1s\""), "9:7: faults.for", "remove it"),
        (far("what = \"cut\"\non = \"c\""), "11:6: faults.on", "namespace"),
        (far("what = \"cut\"\non = \"rc\"\nfrom = [\"c\"]"), "12:8: faults.from", "namespace"),
        (far("what = \"cut\"\non = \"rc\"\nloss = 5"), "12:1: faults.loss", "\"lose\"; remove it"),
        (far("what = \"lose\"\non = \"rc\""), "8:1: faults.loss", "is missing"),
        (far("what = \"duplicate\"\non = \"rc\""), "8:1: faults.duplication", "is missing"),
        (far("what = \"cut\"\non = \"rc\"\nudp = true"), "12:1: faults.udp", "is for `what = \"lose\"`"),
        (proxied("what = \"slow\"\ndelay = \"1ms\"\nudp = true"), "10:1: faults.udp", "remove it"),
        (far("what = \"cut\""), "10:8: faults.what", "one object"),
        (far("what = \"kill\"\non = \"rc-1\"\nfrom = [\"c\"]"), "12:1: faults.from", "remove it"),
        (
            "[[processes]]\nname = \"p\"\nkind = \"proxy\"\nto = \"a:1\"\nnamespace = true".to_owned(),
            "5:1: processes.namespace",
            "another `kind`",
        ),
        (
            "[[processes]]\nname = \"client\"\nkind = \"redis\"".to_owned(),
            "2:8: processes.name",
            "lower-case",
        ),
        (proxied("what = \"kill\""), "7:6: faults.on", "the scenario starts none"),
        (fault("at = \"1s\"\nwhat = \"stall\"\non = \"c\""), "7:6: faults.on", "\"proxy\""),
        (fault("at = 5\nwhat = \"kill\"\non = \"c\""), "5:6: faults.at", "duration"),
    ] {
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.starts_with(&format!("s.toml:{place}")), "{text:?}: {error}");
        assert!(error.contains(what), "{text:?}: {error}");
    }
}

#[test]
fn a_database_of_the_scenario_is_one() {
    let process =
        |name: &str, more: &str| format!("[[processes]]\nname = \"{name}\"\nkind = {more}\n");
    let text = [
        process("c", "\"memcached\""),
        process("db", "\"postgres\""),
        process("p", "\"proxy\"\nto = \"db\""),
        process("q", "\"proxy\"\nto = \"c\""),
        process("r", "\"proxy\"\nto = \"10.0.0.9:5432\""),
    ];
    let script = parse(&text.concat()).unwrap_or_else(|errors| panic!("{errors}"));
    let resolved = |name: &str| {
        let mut args =
            super::super::options::tests::parse(&["--database", &format!("{{{name}}}")]).unwrap();
        args.script = Some(script.clone());
        args.resolve().map(drop).map_err(|error| error.to_string())
    };
    for good in ["db", "p", "r"] {
        assert_eq!(resolved(good), Ok(()), "{good}");
    }
    for wrong in ["c", "q"] {
        let said = resolved(wrong).unwrap_err();
        assert!(said.contains("is no PostgreSQL: name one of kind \"postgres\""), "{said}");
    }
    assert!(resolved("none").unwrap_err().contains("starts no process none"));
}
