//! Floor 5: how a request becomes an effect: sessions, gates, dispatch, propagation, MULTI, pub/sub.

pub mod command_cmd;
