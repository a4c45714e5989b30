//! What `--version` says. Knows numbers fixed when the program was built, nothing else.

use crate::base::crc;

/// The version of the Redis protocol and behaviour that clients gate on.
pub const REDIS_VERSION: &str = crate::base::version::REDIS;
pub const PANDO_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The line of `--version`. Tools that look for a `redis-server` read the `v=` of a line in the stock form, so under
/// that name it leads with the version we are compatible with.
pub fn line(as_redis_server: bool) -> String {
    let bits = usize::BITS;
    let sha = option_env!("PANDO_GIT_SHA").unwrap_or("00000000");
    let build = build_id();
    let tail = format!("sha={sha}:0 malloc=mimalloc bits={bits} build={build:016x}");
    match as_redis_server {
        true => format!("Redis server v={REDIS_VERSION} {tail} (Pando {PANDO_VERSION})"),
        false => format!("Pando server v={PANDO_VERSION} (Redis {REDIS_VERSION} compatible) {tail}"),
    }
}

/// Names a build: the same source built the same way has the same.
pub fn build_id() -> u64 {
    let what = concat!(env!("CARGO_PKG_NAME"), "-", env!("CARGO_PKG_VERSION"));
    let how = if cfg!(debug_assertions) { "debug" } else { "release" };
    let sha = option_env!("PANDO_GIT_SHA").unwrap_or_default();
    crc::crc64(0, format!("{what} {how} {} {} {sha}", std::env::consts::ARCH, std::env::consts::OS).as_bytes())
}
