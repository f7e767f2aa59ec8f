//! Requests of memcached's protocol that several binaries send.

use super::Caller;

const KEYS: usize = 3_000;

/// Many values, stored and read by all of some connections.
pub struct Many(String);

impl Many {
    /// Stores each value by one of these connections, and reads all of them by each.
    pub fn store(callers: &mut [Caller]) -> Self {
        let keys: Vec<String> = (0..KEYS).map(|number| format!("many-{number}")).collect();
        let count = callers.len();
        let mut values = String::new();
        for (number, key) in keys.iter().enumerate() {
            let value = number % 10;
            callers[number % count].send(format!("set {key} 0 0 1 noreply\r\n{value}\r\n"));
            values += &format!("VALUE {key} 0 1\r\n{value}\r\n");
        }
        callers.iter_mut().for_each(|caller| caller.ask("mn\r\n", "MN\r\n"));
        let many = Self(format!("get {}\r\n", keys.join(" ")));
        for caller in callers {
            caller.ask(&many.0, &format!("{values}END\r\n"));
        }
        many
    }

    /// Expects that this connection finds none of the values.
    #[track_caller]
    pub fn expect_none(&self, caller: &mut Caller) {
        caller.ask(&self.0, "END\r\n");
    }
}
