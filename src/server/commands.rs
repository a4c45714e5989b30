//! The command table: every family's rows and handlers, put together once.

use crate::cmd;
use crate::exec::call::{Handler, SessionCommand};
use crate::exec::{client_cmd, command_cmd, connection, help, monitor, pubsub_cmd, transaction};
use crate::repl::{replicaof, verify};
use crate::spec::{Row, Table};

/// Commands that only hold subcommands.
const CONTAINERS: &[&Row] = &[
    &client_cmd::CLIENT,
    &pubsub_cmd::PUBSUB_CONTAINER,
    &cmd::generic::OBJECT,
    &cmd::stream::group::XGROUP,
    &cmd::stream::info::XINFO,
    &super::acl_cmd::ACL,
    &super::config_cmd::CONFIG,
    &super::latency_cmd::LATENCY,
    &super::memory_cmd::MEMORY,
    &super::slowlog_cmd::SLOWLOG,
    &verify::REPLICA,
];

const SESSION_COMMANDS: &[&[SessionCommand]] = &[
    client_cmd::COMMANDS,
    command_cmd::COMMANDS,
    connection::COMMANDS,
    monitor::COMMANDS,
    crate::persist::commands::COMMANDS,
    pubsub_cmd::COMMANDS,
    replicaof::COMMANDS,
    transaction::COMMANDS,
    crate::repl::commands::COMMANDS,
    crate::repl::handover::COMMANDS,
    verify::COMMANDS,
    super::acl_cmd::COMMANDS,
    super::config_cmd::COMMANDS,
    super::debug::COMMANDS,
    super::info::COMMANDS,
    super::keyspace_cmd::COMMANDS,
    super::latency_cmd::COMMANDS,
    super::memory_cmd::COMMANDS,
    super::shutdown::COMMANDS,
    super::slowlog_cmd::COMMANDS,
    super::time::COMMANDS,
    HELPS,
];

/// HELP of the containers whose subcommands are data commands.
const HELPS: &[SessionCommand] = &[
    SessionCommand { row: &cmd::generic::OBJECT_HELP, run: help::help },
    SessionCommand { row: &cmd::stream::group::XGROUP_HELP, run: help::help },
    SessionCommand { row: &cmd::stream::info::XINFO_HELP, run: help::help },
];

/// All commands of the server.
pub fn table() -> Table<Handler> {
    let containers = CONTAINERS.iter().map(|row| (*row, Handler::Container));
    let data = cmd::commands().chain(super::migrate::COMMANDS).map(|c| (c.row, Handler::Data(c.run)));
    let session = SESSION_COMMANDS.iter().copied().flatten().map(|c| (c.row, Handler::Session(c.run)));
    let exec = [(&transaction::EXEC, Handler::Exec)];
    Table::new(containers.chain(data).chain(session).chain(exec))
}
