//! Floor 8: the programs beside the server: `up`, `tree`, `check-rdb`.
