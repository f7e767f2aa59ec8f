//! The files of a cluster and of a proxy.

use std::path::Path;

use standin_config::{ClusterConfig, ProxyConfig};

/// The folder of relative paths in the text, which does not exist.
const FOLDER: &str = "/standin-fuzz-no-such-folder";
/// Ranks are computed for smaller clusters than this only, in draws.
const DRAWS_MAX: u64 = 200_000;

/// Any text gives values that obey the rules and can be written down again, or mistakes
/// that say something.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // The one file that parsing opens: an input must not make the fuzzer read a device.
    // Without backslashes the key can only be spelled as it is.
    if text.contains("secret_file") || text.contains('\\') {
        return;
    }
    if let Err(errors) = ProxyConfig::check(text, "fuzz.toml", Path::new(FOLDER)).config {
        assert!(!errors.mistakes.is_empty());
    }
    let config = match ClusterConfig::parse(text, "fuzz.toml", Path::new(FOLDER)) {
        Ok(config) => config,
        Err(errors) => {
            assert!(!errors.mistakes.is_empty());
            assert!(errors.mistakes.iter().all(|mistake| !mistake.text.is_empty()));
            assert!(!errors.to_string().is_empty());
            return;
        }
    };
    let written = config.to_toml();
    match ClusterConfig::parse(&written, "written.toml", Path::new(FOLDER)) {
        Ok(again) => assert_eq!(again, config, "as written:\n{written}"),
        Err(errors) => panic!("what was written is refused: {errors}\n{written}"),
    }
    let weights: u64 = config.servers.iter().map(|server| u64::from(server.weight)).sum();
    if weights * u64::from(config.partitions) <= DRAWS_MAX {
        assert!(config.topology().is_ok(), "a checked configuration has a topology");
    }
}
