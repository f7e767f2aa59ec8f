//! The flags of an answer, in words.

/// The flags of an answer, in words.
pub(crate) fn in_words(flags: u8) -> String {
    use standin_protocol::frame::response_flags as bits;
    let names = [
        (bits::HIT, "HIT"),
        (bits::FILLED, "FILLED"),
        (bits::STAND_IN, "STAND_IN"),
        (bits::PROVISIONAL, "PROVISIONAL"),
        (bits::FORWARDED, "FORWARDED"),
        (bits::CACHED, "CACHED"),
    ];
    names.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| format!(", {name}")).collect()
}
