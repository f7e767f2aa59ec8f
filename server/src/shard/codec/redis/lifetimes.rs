//! The commands about the lifetimes of values.

use super::call::{Call, Made, either};
use super::said::Said;
use super::tag::{Kind, Tag};
use crate::node::modify::{Edit, LifetimeTest, Modify, Presence, Ttl, When};
use crate::shard::codec::Request;

/// The way in which a lifetime is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
    /// The time of the end, in seconds since 1970.
    SecondsAt,
    /// The time of the end, in milliseconds since 1970.
    MillisecondsAt,
}

impl Unit {
    pub(super) const ALL: [Self; 4] =
        [Self::Seconds, Self::Milliseconds, Self::SecondsAt, Self::MillisecondsAt];

    /// The option of SET by which a lifetime is given in this way.
    pub(super) fn option(self) -> &'static str {
        match self {
            Self::Seconds => "EX",
            Self::Milliseconds => "PX",
            Self::SecondsAt => "EXAT",
            Self::MillisecondsAt => "PXAT",
        }
    }

    /// The lifetime in milliseconds from now on; `None` if it is out of range.
    fn left_ms(self, number: i64, now_ms: i64) -> Option<i64> {
        let ms = match self {
            Self::Seconds | Self::SecondsAt => number.checked_mul(1_000)?,
            Self::Milliseconds | Self::MillisecondsAt => number,
        };
        match self {
            Self::Seconds | Self::Milliseconds => now_ms.checked_add(ms).map(|_| ms),
            Self::SecondsAt | Self::MillisecondsAt => Some(ms.saturating_sub(now_ms)),
        }
    }
}

/// The lifetime in a word. What has passed is 0.
///
/// # Errors
/// It is no number, or out of range.
pub(super) fn any(call: &Call<'_>, word: usize, unit: Unit) -> Result<Ttl, Made> {
    let number = call.number(word)?;
    let now_ms = i64::try_from(call.around.wall_ms).unwrap_or(i64::MAX);
    let left_ms = unit.left_ms(number, now_ms).ok_or(Made::BadExpire)?;
    Ok(Ttl::For(u64::try_from(left_ms).unwrap_or(0)))
}

/// The lifetime in a word, which must be positive. The time of the end may have passed.
///
/// # Errors
/// It is no positive number, or out of range.
pub(super) fn future(call: &Call<'_>, word: usize, unit: Unit) -> Result<Ttl, Made> {
    match call.number(word)? {
        ..=0 => Err(Made::BadExpire),
        _ => any(call, word, unit),
    }
}

pub(super) fn expire(call: &Call<'_>) -> Made {
    either(change(call, Unit::Seconds))
}

pub(super) fn pexpire(call: &Call<'_>) -> Made {
    either(change(call, Unit::Milliseconds))
}

pub(super) fn expireat(call: &Call<'_>) -> Made {
    either(change(call, Unit::SecondsAt))
}

pub(super) fn pexpireat(call: &Call<'_>) -> Made {
    either(change(call, Unit::MillisecondsAt))
}

fn change(call: &Call<'_>, unit: Unit) -> Result<Made, Made> {
    let (mut nx, mut xx, mut gt, mut lt) = (false, false, false, false);
    for word in 3..call.count() {
        match call.word(word) {
            option if option.eq_ignore_ascii_case(b"nx") => nx = true,
            option if option.eq_ignore_ascii_case(b"xx") => xx = true,
            option if option.eq_ignore_ascii_case(b"gt") => gt = true,
            option if option.eq_ignore_ascii_case(b"lt") => lt = true,
            _ => return Ok(call.repeats(Kind::BadOption, word, super::What::Said)),
        }
    }
    let lifetime = match (nx, xx, gt, lt) {
        (true, true, ..) | (true, _, true, _) | (true, _, _, true) => {
            return Err(Said::OptionsNx.into());
        }
        (_, _, true, true) => return Err(Said::OptionsGtLt.into()),
        (_, true, _, true) => LifetimeTest::LimitedShorter,
        (true, ..) => LifetimeTest::Endless,
        // A value without a lifetime lives longest, so that GT is never true of it.
        (_, _, true, _) => LifetimeTest::Longer,
        (_, true, ..) => LifetimeTest::Limited,
        (_, _, _, true) => LifetimeTest::Shorter,
        _ => LifetimeTest::Any,
    };
    let ttl = any(call, 2, unit)?;
    let when = When { presence: Presence::Present, lifetime, ..When::ALWAYS };
    Ok(call.modify(1, Kind::Flag, Modify { ttl, when, ..Modify::new(Edit::Keep) }, None))
}

pub(super) fn persist(call: &Call<'_>) -> Made {
    let (presence, lifetime) = (Presence::Present, LifetimeTest::Limited);
    let when = When { presence, lifetime, ..When::ALWAYS };
    let operation = Modify { ttl: Ttl::Never, when, ..Modify::new(Edit::Keep) };
    call.modify(1, Kind::Flag, operation, None)
}

pub(super) fn ttl(call: &Call<'_>) -> Made {
    call.get(1, Kind::Ttl)
}

pub(super) fn pttl(call: &Call<'_>) -> Made {
    call.get(1, Kind::Pttl)
}

pub(super) fn expiretime(call: &Call<'_>) -> Made {
    at(call, Kind::ExpireTime)
}

pub(super) fn pexpiretime(call: &Call<'_>) -> Made {
    at(call, Kind::PexpireTime)
}

fn at(call: &Call<'_>, kind: Kind) -> Made {
    match call.get(1, kind) {
        Made::Request(request) => {
            let tag = Tag { number: call.around.wall_ms, ..Tag::new(kind) }.pack();
            Made::Request(Request { tag, ..request })
        }
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_counted_from_now() {
        let now_ms = 1_700_000_000_500;
        assert_eq!(Unit::Seconds.left_ms(2, now_ms), Some(2_000));
        assert_eq!(Unit::Milliseconds.left_ms(-2, now_ms), Some(-2));
        assert_eq!(Unit::SecondsAt.left_ms(1_700_000_002, now_ms), Some(1_500));
        assert_eq!(Unit::MillisecondsAt.left_ms(1, now_ms), Some(1 - now_ms));
        assert_eq!(Unit::Seconds.left_ms(i64::MAX / 1_000 + 1, now_ms), None);
        assert_eq!(Unit::Milliseconds.left_ms(i64::MAX, now_ms), None);
        assert_eq!(Unit::SecondsAt.left_ms(i64::MAX, now_ms), None);
    }
}
