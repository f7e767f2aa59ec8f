//! A turn: everything that a shard does after a wake-up, in one place for the loop on io_uring, the
//! loop on epoll, and the simulator.
//!
//! ```text
//! decide   mail ─► serve what was received ─► deadlines ─► effects for other threads
//!          (the clock is read again if something goes out to a peer)
//! act      effects on sockets
//! ```
//! A process may be stopped between the two parts: the simulator does that.

use super::core::backend::Backend;
use super::core::{Core, Effect, Io};
use super::mailbox::Message;
use crate::node::{Node, Now};

/// The surroundings of a shard's core. They move bytes and messages, and decide nothing.
pub trait Shell<B: Backend = Node> {
    /// The shard.
    fn core(&mut self) -> &mut Core<B>;

    /// Gives a message to the core; takes in the socket of an adopted connection.
    fn take_in(&mut self, now: Now, message: Message);

    /// Lets the core serve the received requests, and gives the receive buffers back.
    fn serve(&mut self, now: Now);

    /// Closes the sockets whose time to take the last bytes is over.
    fn close_overdue(&mut self, now: Now);

    /// Carries out what other threads have to do.
    fn carry_out(&mut self, now: Now, effect: Effect);

    /// Carries out what has to be done on a socket.
    fn perform(&mut self, now: Now, io: Io);

    /// The time now, which may be later than that of the turn.
    fn clock(&mut self) -> Now;
}

/// The first part of a turn. `now` was read after the last byte was received and the last message
/// taken out: see [`Core::serve_staged`].
pub fn decide<B: Backend>(shell: &mut impl Shell<B>, now: Now, mail: &mut Vec<Message>) {
    for message in mail.drain(..) {
        shell.take_in(now, message);
    }
    shell.serve(now);
    if now.mono >= shell.core().next_deadline() {
        shell.core().tick(now);
        shell.close_overdue(now);
    }
    shell.core().begin_outputs();
    while let Some(effect) = shell.core().poll(now) {
        shell.carry_out(now, effect);
    }
    shell.core().end_outputs();
    carry_out_all(shell, now);
}

/// The second part of a turn: what was decided goes out.
pub fn act<B: Backend>(shell: &mut impl Shell<B>, now: Now) {
    if shell.core().take_sent_on() {
        let later = shell.clock();
        shell.core().drop_if_stopped(later);
    }
    loop {
        carry_out_all(shell, now);
        let Some(io) = shell.core().io() else { return };
        shell.perform(now, io);
    }
}

fn carry_out_all<B: Backend>(shell: &mut impl Shell<B>, now: Now) {
    while let Some(effect) = shell.core().effect() {
        shell.carry_out(now, effect);
    }
}
