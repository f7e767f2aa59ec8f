//! `standin top` in a terminal, while a server of a cluster with TLS is killed and returns.

use std::fs::File;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::process::{Command, Stdio};

use standin_config::TlsPort;
use standin_protocol::map::ServerState::Online;
use standin_testkit::{Child, read_some};

use crate::common::cluster::PROGRAM;
use crate::common::screen::Screen;
use crate::common::{Cluster, Load, PAIR, WITHIN, tls};

/// A script that runs `standin top` twice, and says what it has done to the terminal.
fn script(cluster: &Cluster) -> String {
    let file = cluster.config_path.display();
    let once = format!(
        "before=$(stty -g)\n{PROGRAM} top --config {file}\necho \"code $?\"\n\
         test \"$before\" = \"$(stty -g)\" && echo settings as before\n"
    );
    format!("echo text from before\n{once}read line\n{once}read line\n")
}

#[test]
fn a_terminal_shows_a_kill_and_a_return_and_is_left_as_it_was() {
    let mut made = None;
    let mut cluster = Cluster::with("top", PAIR, |config| {
        made = Some(tls::switch_on(config, &[TlsPort::Standin]));
    });
    let Some(screen) = Screen::run_or_skip("standin top", &script(&cluster), 180, 40) else {
        return;
    };
    // It begins before the cluster does.
    screen.wait("no master", |text| text.contains("master DOES NOT ANSWER"));
    cluster.start();
    let load = Load::start(&cluster, 1);
    screen.wait("health", |text| text.contains("● all is well") && text.contains("2 of 2 online"));
    let row = |text: &str, name: &str, parts: &[&str]| {
        text.lines().any(|line| {
            line.starts_with(&format!("{name} ")) && parts.iter().all(|part| line.contains(part))
        })
    };
    screen.wait("rows", |text| {
        row(text, "a1", &["● online", "µs"]) && row(text, "a2", &["● online"])
    });
    assert_eq!(screen.value("alternate_on"), "1");

    cluster.kill("a1");
    screen.wait("a1 is offline", |text| {
        row(text, "a1", &["✖ offline", "does not answer", "a2 stands in: "])
            && row(text, "a2", &["● online", "stands in for a1: "])
            && text.contains("▲ warning: a1 is offline since epoch")
            && text.contains("✖ a1 is offline as of epoch")
            && text.contains("▲ a2 stands in for a1: ")
    });
    screen.resize(70, 20);
    screen.wait("a small screen", |text| {
        text.lines().all(|line| line.chars().count() <= 70)
            && row(text, "a1", &["✖ offline", "does not answer"])
            && row(text, "a2", &["● online", "stands in for a1"])
    });
    screen.resize(180, 40);
    cluster.start_server("a1");
    cluster.wait_all(Online);
    screen.wait("a1 is back", |text| {
        row(text, "a1", &["● online"])
            && text.contains("● all is well")
            && text.contains("● a1 is online as of epoch")
            && text.contains("a2 no longer stands in for a1")
    });
    assert_eq!(load.finish().failures, Vec::<String>::new());

    for (key, ends) in [("q", 1), ("C-c", 2)] {
        screen.press(key);
        screen.wait("its end", |text| {
            text.contains("text from before")
                && text.matches("code 0").count() == ends
                && text.matches("settings as before").count() == ends
        });
        assert_eq!(
            (screen.value("alternate_on"), screen.value("cursor_flag")),
            ("0".into(), "1".into())
        );
        if key == "q" {
            screen.press("Enter");
            screen.wait("it again", |text| text.contains("● all is well"));
        }
    }
}

#[test]
fn it_ends_when_its_terminal_is_gone_without_a_signal() {
    let cluster = Cluster::new("top-gone", PAIR);
    let (terminal, mut held) = pseudo_terminal();
    let end = || Stdio::from(terminal.try_clone().expect("a descriptor"));
    let mut command = Command::new(PROGRAM);
    command.args(["top", "--config"]).arg(&cluster.config_path).env("TERM", "xterm");
    command.stdin(end()).stdout(end()).stderr(Stdio::null());
    let mut child = Child::spawn_as_is("top", command);
    drop(terminal);
    let mut drawn = [0; 4_096];
    assert!(read_some(&mut held, &mut drawn).expect("it draws") > 0);
    drop(held);
    assert_eq!(child.exit_status(WITHIN).code(), Some(0));
}

/// A terminal, and the side that shows it.
fn pseudo_terminal() -> (File, File) {
    let held = File::options().read(true).write(true).open("/dev/ptmx").expect("a terminal");
    let unlocked: libc::c_int = 0;
    // SAFETY: the request reads one number.
    let locked = unsafe { libc::ioctl(held.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) };
    assert_eq!(locked, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the request takes flags and returns a descriptor that nobody else has.
    let terminal = unsafe {
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        let descriptor = libc::ioctl(held.as_raw_fd(), libc::TIOCGPTPEER, flags);
        assert!(descriptor >= 0, "{}", std::io::Error::last_os_error());
        File::from_raw_fd(descriptor)
    };
    (terminal, held)
}

#[test]
fn without_a_terminal_it_says_what_to_use_instead() {
    let cluster = Cluster::new("top-pipe", PAIR);
    let output = cluster.run(&["top"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no terminal") && said.contains("standin status"), "{said}");
    assert!(output.stdout.is_empty());
}
