//! Replication, with a stock server at the other end of every link, in both directions.

/// A test for every pair of master and replica that Pando is part of.
macro_rules! for_each_pair {
    ($($(#[$meta:meta])* fn $name:ident($master:ident, $replica:ident) $body:block)*) => { $(
        $(#[$meta])*
        mod $name {
            use super::*;

            fn check($master: Kind, $replica: Kind) $body

            #[test]
            fn with_stock_following_pando() {
                check(Kind::Pando, Kind::Stock70);
            }

            #[test]
            fn with_pando_following_stock() {
                check(Kind::Stock70, Kind::Pando);
            }

            #[test]
            fn with_pando_following_pando() {
                check(Kind::Pando, Kind::Pando);
            }
        }
    )* };
}

/// A test for each of the two orders in which Pando and stock servers alternate in a line.
macro_rules! for_each_order {
    ($($(#[$meta:meta])* fn $name:ident($kinds:ident) $body:block)*) => { $(
        $(#[$meta])*
        mod $name {
            use super::*;

            fn check($kinds: [Kind; 4]) $body

            #[test]
            fn with_pando_first() {
                check([Kind::Pando, Kind::Stock70, Kind::Pando, Kind::Stock70]);
            }

            #[test]
            fn with_stock_first() {
                check([Kind::Stock70, Kind::Pando, Kind::Stock70, Kind::Pando]);
            }
        }
    )* };
}

mod chains;
mod crashes;
mod fence;
mod full_sync;
mod lag;
mod long_sync;
mod partial_sync;
mod promises;
mod promotion;
mod restarts;
mod stream;
mod trouble;
mod two_channels;
mod verify;
