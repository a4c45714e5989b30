//! Floor 8: boot, listeners, connections, the cron, admin commands, shutdown.
