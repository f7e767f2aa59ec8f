//! Numbers of things, for messages.

/// A number of things, in the plural unless there is one. The plural of `one` has an s.
#[must_use]
pub fn counted(count: usize, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_thing_is_in_the_singular() {
        let all = [0, 1, 2].map(|count| counted(count, "server"));
        assert_eq!(all, ["0 servers", "1 server", "2 servers"]);
    }
}
