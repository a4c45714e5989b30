//! Floor 5: how a request becomes an effect: sessions, gates, dispatch, propagation, MULTI, blocking, pub/sub.

pub mod batch;
pub mod block;
pub mod call;
pub mod client;
pub mod client_cmd;
pub mod client_memory;
pub mod command_cmd;
pub mod connection;
pub mod describe;
pub mod digest;
pub mod durable;
pub mod engine;
pub mod evict;
pub mod expire_cycle;
pub mod gate;
pub mod help;
pub mod hold;
pub mod monitor;
pub mod multi;
pub mod output_limit;
pub mod pause;
pub mod propagate;
pub mod pubsub;
pub mod pubsub_cmd;
pub mod round;
pub mod session;
pub mod standstill;
pub mod state;
pub mod transaction;
pub mod turn;

pub use call::{Call, Flow, Handler, SessionCommand};
pub use engine::Engine;
pub use session::Session;
