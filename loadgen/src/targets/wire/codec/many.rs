//! The values of a request for several keys, of memcached's protocols: each comes with its key, in the order of the
//! request, and those that are not there are left out.

use super::Malformed;

/// A key and its value.
pub(super) type Block<'a> = (&'a [u8], &'a [u8]);

/// The value of each key.
pub(super) fn of_blocks<'a>(
    keys: &[Vec<u8>],
    blocks: impl Iterator<Item = Result<Block<'a>, Malformed>>,
) -> Result<Vec<Option<&'a [u8]>>, Malformed> {
    let mut values = vec![None; keys.len()];
    let mut next = 0;
    for block in blocks {
        let (key, value) = block?;
        let distance = keys[next..].iter().position(|asked| asked == key);
        let Some(distance) = distance else {
            return Err(Malformed(
                "a value of a key that was not asked for, or out of order".into(),
            ));
        };
        values[next + distance] = Some(value);
        next += distance + 1;
    }
    Ok(values)
}
