//! What a request needs of its caller's rights. It is checked where the caller is connected, before the
//! request is placed, redirected or forwarded: servers believe each other.

use standin_protocol::users::{Right, Rights};

use super::codec::What;
use crate::node::Action;

/// What is refused, in the words of Redis.
const KEY: &str = "this user has no permissions to access one of the keys used as arguments";
const COMMAND: &str = "this user has no permissions to run this command";

/// Whether a caller with these rights may make this request.
///
/// # Errors
/// The explanation of the refusal.
pub(super) fn check(what: &What, rights: &Rights) -> Result<(), &'static str> {
    match what {
        What::Command(head) | What::Modify(head, _) | What::Alone(head, _) | What::Held(head) => {
            let is_permitted =
                needed(head.action).iter().all(|right| rights.of(*right).has(head.keyspace));
            let refused = if head.action == Action::Flush { COMMAND } else { KEY };
            is_permitted.then_some(()).ok_or(refused)
        }
        // They are about all keyspaces.
        What::Walk(_) | What::Slice(_) => everywhere(rights, Right::Read),
        What::Stats | What::Hot => everywhere(rights, Right::Administer),
        What::Routes
        | What::Refused(..)
        | What::Said
        | What::Again
        | What::Auth
        | What::Nothing
        | What::Last => Ok(()),
    }
}

fn everywhere(rights: &Rights, right: Right) -> Result<(), &'static str> {
    rights.has_everywhere(right).then_some(()).ok_or(COMMAND)
}

/// The rights that an action needs in the keyspace of its key.
fn needed(action: Action) -> &'static [Right] {
    match action {
        Action::Get => &[Right::Read],
        Action::Put | Action::Delete | Action::Cas | Action::Touch | Action::Invalidate => {
            &[Right::Write]
        }
        // Its answer depends on the value.
        Action::Modify => &[Right::Read, Right::Write],
        Action::Flush => &[Right::Administer],
        // They have no key; the node knows who may ask for them.
        Action::Ping | Action::Map | Action::Settle | Action::Handback | Action::Walk => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::CommandHead;

    const ACTIONS: [Action; 8] = [
        Action::Get,
        Action::Put,
        Action::Delete,
        Action::Cas,
        Action::Touch,
        Action::Modify,
        Action::Invalidate,
        Action::Flush,
    ];

    #[test]
    fn each_action_needs_its_rights_in_the_keyspace_of_its_key() {
        let only = |rights: &[Right]| {
            let mut only = Rights::default();
            rights.iter().for_each(|right| only.of_mut(*right).set(7, true));
            only
        };
        let may = |action, keyspace, rights: &[Right]| {
            let head = CommandHead::new(action, keyspace);
            [What::Command(head), What::Alone(head, None), What::Held(head)]
                .map(|what| check(&what, &only(rights)).is_ok())
        };
        for action in ACTIONS {
            for mask in 0..8_u8 {
                let has = |number: usize| mask >> number & 1 != 0;
                let rights: Vec<Right> =
                    (0..3).filter(|number| has(*number)).map(|number| Right::ALL[number]).collect();
                let wanted = match action {
                    Action::Get => has(0),
                    Action::Modify => has(0) && has(1),
                    Action::Flush => has(2),
                    _ => has(1),
                };
                assert_eq!(may(action, 7, &rights), [wanted; 3], "{action:?} {rights:?}");
                assert_eq!(may(action, 8, &rights), [false; 3], "{action:?} elsewhere");
            }
        }
        assert_eq!(may(Action::Map, 8, &[]), [true; 3]);
    }

    #[test]
    fn what_concerns_all_keyspaces_needs_the_right_in_all() {
        let mut rights = Rights::ALL;
        assert!(check(&What::Stats, &rights).is_ok() && check(&What::Hot, &rights).is_ok());
        rights.administer.set(200, false);
        assert_eq!(check(&What::Stats, &rights), Err(COMMAND));
        assert_eq!(check(&What::Hot, &rights), Err(COMMAND));
        let walk = What::Walk(Box::new(crate::shard::codec::walk::Walk::all(None)));
        assert!(check(&walk, &rights).is_ok());
        rights.read.set(0, false);
        assert_eq!(check(&walk, &rights), Err(COMMAND), "it would show what can't be read");
        for what in [What::Routes, What::Said, What::Again, What::Auth, What::Last] {
            assert!(check(&what, &Rights::default()).is_ok());
        }
    }
}
