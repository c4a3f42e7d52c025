//! Everything that is written can be read back, from the file and from the directory.

use std::time::UNIX_EPOCH;

use proptest::prelude::*;
use state_export::{Profile, StateExport, export_directory, import};

use crate::support::{Amounts, into, state};

fn amounts() -> impl Strategy<Value = Amounts> {
    (
        0..20_usize,
        0..20_usize,
        0..9_usize,
        0..9_usize,
        0..40_usize,
    )
        .prop_map(|(nodes, keys, tokens, revoked, usage)| Amounts {
            nodes,
            keys,
            tokens,
            revoked,
            usage,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    // spec: KEEP-71
    #[test]
    fn what_is_written_is_read_as_it_was(
        amounts in amounts(),
        is_home in any::<bool>(),
        seed in 0..1_000_000_u64,
    ) {
        let profile = if is_home { Profile::Home } else { Profile::Cloud };
        let export = state(profile, amounts, seed);
        let bytes = export.to_bytes().unwrap();
        prop_assert_eq!(&StateExport::parse(&bytes).unwrap(), &export);
        let directory = tempfile::tempdir().unwrap();
        import(&export, &into(directory.path())).unwrap();
        let again = export_directory(directory.path(), None, "0.1.0", UNIX_EPOCH).unwrap();
        prop_assert_eq!(&again.records, &export.records);
        prop_assert_eq!(&again.usage, &export.usage);
        prop_assert_eq!((again.profile, again.node_id), (export.profile, export.node_id));
    }

    // spec: KEEP-72
    #[test]
    fn a_file_that_was_changed_anywhere_is_refused(
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = crate::support::some(Profile::Cloud).to_bytes().unwrap();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            prop_assume!(bytes[at] != to);
            bytes[at] = to;
        }
        let parsed = StateExport::parse(&bytes);
        prop_assert!(parsed.is_err(), "{at} {to}");
    }
}
