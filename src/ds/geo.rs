//! Places on the earth as scores of a sorted set: the arithmetic of stock servers, operation by operation, so that
//! scores, distances and what is found near a border agree to the last bit.
//!
//! ```text
//!   longitude, latitude     each a share of its range, in `step` bits
//!   cell                    the bits of both in turn: a longer one lies inside a shorter one with the same beginning
//!   score                   the cell of 26 steps, 52 bits: cells near each other are ranges of scores
//! ```
//! A search looks at the cell around its centre and the eight around that, of a size that covers the area. Knows no sets.

use std::f64::consts::PI;

pub const LONGITUDE_MAX: f64 = 180.0;
/// The limit of the Mercator projection: the poles have no score.
pub const LATITUDE_MAX: f64 = 85.051_128_78;
const STEPS: u32 = 26;
const EARTH_RADIUS_M: f64 = 6_372_797.560856;
const MERCATOR_MAX_M: f64 = 20_037_726.37;

/// Degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    pub longitude: f64,
    pub latitude: f64,
}

impl Place {
    /// Nothing outside of what can be a score.
    pub fn new(longitude: f64, latitude: f64) -> Option<Self> {
        let fits = longitude.abs() <= LONGITUDE_MAX && latitude.abs() <= LATITUDE_MAX;
        fits.then_some(Self { longitude, latitude })
    }

    pub fn score(self) -> u64 {
        self.cell(STEPS, LATITUDE_MAX).bits
    }

    /// The middle of the cell that a score stands for. Any score stands for one.
    pub fn of_score(score: f64) -> Self {
        // What C makes of a double that fits no unsigned integer.
        const HALF: f64 = (1u64 << 63) as f64;
        let bits = match score {
            s if s < HALF => s as i64 as u64,
            s if s < 2.0 * HALF => s as u64,
            _ => 0,
        };
        let area = Cell { bits, step: STEPS }.area();
        let middle = |low: f64, high: f64, most: f64| ((low + high) / 2.0).clamp(-most, most);
        Self {
            longitude: middle(area.west, area.east, LONGITUDE_MAX),
            latitude: middle(area.south, area.north, LATITUDE_MAX),
        }
    }

    /// Metres, over a sphere.
    pub fn distance_m(self, other: Self) -> f64 {
        let v = ((radians(other.longitude) - radians(self.longitude)) / 2.0).sin();
        if v == 0.0 {
            return self.distance_along_meridian_m(other);
        }
        let (here, there) = (radians(self.latitude), radians(other.latitude));
        let u = ((there - here) / 2.0).sin();
        let a = u * u + here.cos() * there.cos() * v * v;
        2.0 * EARTH_RADIUS_M * a.sqrt().asin()
    }

    fn distance_along_meridian_m(self, other: Self) -> f64 {
        EARTH_RADIUS_M * (radians(other.latitude) - radians(self.latitude)).abs()
    }

    /// The eleven letters that other systems know places by: latitudes up to 90 degrees, and a zero at the end, for
    /// which there are no bits.
    pub fn geohash(self) -> [u8; 11] {
        let bits = self.cell(STEPS, 90.0).bits;
        std::array::from_fn(|i| {
            let index = if i == 10 { 0 } else { bits >> (52 - (i + 1) * 5) & 31 };
            b"0123456789bcdefghjkmnpqrstuvwxyz"[index as usize]
        })
    }

    fn cell(self, step: u32, latitude_max: f64) -> Cell {
        let share = |value: f64, most: f64| (value - -most) / (most - -most) * (1u64 << step) as f64;
        let (x, y) = (share(self.longitude, LONGITUDE_MAX), share(self.latitude, latitude_max));
        Cell { bits: spread(y as u32) | spread(x as u32) << 1, step }
    }
}

fn radians(degrees: f64) -> f64 {
    degrees * (PI / 180.0)
}

fn degrees(radians: f64) -> f64 {
    radians / (PI / 180.0)
}

/// Puts a zero before each bit.
fn spread(bits: u32) -> u64 {
    let mut x = u64::from(bits);
    x = (x | x << 16) & 0x0000_ffff_0000_ffff;
    x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
    x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x << 2) & 0x3333_3333_3333_3333;
    (x | x << 1) & 0x5555_5555_5555_5555
}

/// The inverse of [`spread`]; the other bits are passed over.
fn gather(bits: u64) -> u32 {
    let mut x = bits & 0x5555_5555_5555_5555;
    x = (x | x >> 1) & 0x3333_3333_3333_3333;
    x = (x | x >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x >> 4) & 0x00ff_00ff_00ff_00ff;
    x = (x | x >> 8) & 0x0000_ffff_0000_ffff;
    (x | x >> 16) as u32
}

/// A rectangle of degrees, the same share of the earth's as all others of its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    bits: u64,
    step: u32,
}

#[derive(Clone, Copy, Debug)]
struct Area {
    west: f64,
    east: f64,
    south: f64,
    north: f64,
}

const LONGITUDE_BITS: u64 = 0xaaaa_aaaa_aaaa_aaaa;
const LATITUDE_BITS: u64 = 0x5555_5555_5555_5555;

impl Cell {
    fn area(self) -> Area {
        let edge = |n: u32, most: f64| -most + (f64::from(n) / (1u64 << self.step) as f64) * (most - -most);
        let (x, y) = (gather(self.bits >> 1), gather(self.bits));
        Area {
            west: edge(x, LONGITUDE_MAX),
            east: edge(x.wrapping_add(1), LONGITUDE_MAX),
            south: edge(y, LATITUDE_MAX),
            north: edge(y.wrapping_add(1), LATITUDE_MAX),
        }
    }

    /// The cell so many to the east and to the north, each of them -1, 0 or 1; around the earth if need be.
    fn neighbour(self, east: i8, north: i8) -> Self {
        let all = u64::MAX >> (64 - self.step * 2);
        let moved = |by: i8, own: u64, others: u64| {
            let (bits, filler) = (self.bits & own, others & all);
            let moved = match by {
                0 => return bits,
                1 => bits.wrapping_add(filler + 1),
                _ => (bits | filler).wrapping_sub(filler + 1),
            };
            moved & own & all
        };
        let bits = moved(east, LONGITUDE_BITS, LATITUDE_BITS) | moved(north, LATITUDE_BITS, LONGITUDE_BITS);
        Self { bits, ..self }
    }

    /// The scores in it: from the first, up to the second but without it.
    fn scores(self) -> (f64, f64) {
        let align = |bits: u64| (bits << (52 - self.step * 2)) as f64;
        (align(self.bits), align(self.bits + 1))
    }
}

/// What is searched for, around a centre; metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    Circle { radius_m: f64 },
    Box { width_m: f64, height_m: f64 },
}

/// An area around a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    pub centre: Place,
    pub shape: Shape,
}

impl Search {
    /// The distance from the centre, if the place is inside.
    pub fn distance_inside_m(&self, place: Place) -> Option<f64> {
        match self.shape {
            Shape::Circle { radius_m } => {
                let distance = self.centre.distance_m(place);
                // Rounding may leave no number for the other side of the earth; stock servers count that as inside.
                (distance.is_nan() || distance <= radius_m).then_some(distance)
            }
            Shape::Box { width_m, height_m } => {
                if place.distance_along_meridian_m(self.centre) > height_m / 2.0 {
                    return None;
                }
                let beside = Place { longitude: self.centre.longitude, latitude: place.latitude };
                if place.distance_m(beside) > width_m / 2.0 {
                    return None;
                }
                Some(self.centre.distance_m(place))
            }
        }
    }

    fn bounds(&self) -> Area {
        let (width, height) = match self.shape {
            Shape::Circle { radius_m } => (radius_m, radius_m),
            Shape::Box { width_m, height_m } => (width_m / 2.0, height_m / 2.0),
        };
        let Place { longitude, latitude } = self.centre;
        let up = degrees(height / EARTH_RADIUS_M);
        // A circle of latitude is shorter the nearer it is to its pole: that side has the most degrees.
        let nearer = if latitude < 0.0 { latitude - up } else { latitude + up };
        let aside = degrees(width / EARTH_RADIUS_M / radians(nearer).cos());
        Area { west: longitude - aside, east: longitude + aside, south: latitude - up, north: latitude + up }
    }

    /// How many steps a cell has that is about as large as the area.
    fn steps(&self) -> u32 {
        let mut reach = match self.shape {
            Shape::Circle { radius_m } => radius_m,
            Shape::Box { width_m, height_m } => {
                ((width_m / 2.0) * (width_m / 2.0) + (height_m / 2.0) * (height_m / 2.0)).sqrt()
            }
        };
        if reach == 0.0 {
            return STEPS;
        }
        let mut steps = 1;
        while reach < MERCATOR_MAX_M {
            reach *= 2.0;
            steps += 1;
        }
        steps -= 2;
        let latitude = self.centre.latitude.abs();
        if latitude > 66.0 {
            steps -= 1;
        }
        if latitude > 80.0 {
            steps -= 1;
        }
        steps.clamp(1, STEPS as i32) as u32
    }

    /// Ranges of scores, from the first of each up to its second but without it, that hold all places inside, in the order
    /// in which they are to be searched.
    pub fn scores(&self) -> Vec<(f64, f64)> {
        let bounds = self.bounds();
        let mut steps = self.steps();
        let mut cell = self.centre.cell(steps, LATITUDE_MAX);
        if steps > 1 && falls_short(cell, &bounds) {
            steps -= 1;
            cell = self.centre.cell(steps, LATITUDE_MAX);
        }
        let area = cell.area();
        // Neighbours on sides that the area does not reach.
        let spared = |east: i8, north: i8| {
            steps >= 2
                && ((north < 0 && area.south < bounds.south)
                    || (north > 0 && area.north > bounds.north)
                    || (east < 0 && area.west < bounds.west)
                    || (east > 0 && area.east > bounds.east))
        };
        let order = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let mut ranges = Vec::with_capacity(order.len());
        let mut last = None;
        for (i, (east, north)) in order.into_iter().enumerate() {
            let cell = cell.neighbour(east, north);
            // Where cells are few, two neighbours may be the same.
            if spared(east, north) || last == Some(cell) {
                continue;
            }
            ranges.push(cell.scores());
            // Stock servers do not compare with the cell in the middle.
            last = (i > 0).then_some(cell);
        }
        ranges
    }
}

/// Whether the neighbours end before the bounds. A bound that is not a number is no reason, as in stock servers.
fn falls_short(cell: Cell, bounds: &Area) -> bool {
    cell.neighbour(0, 1).area().north < bounds.north
        || cell.neighbour(0, -1).area().south > bounds.south
        || cell.neighbour(1, 0).area().east < bounds.east
        || cell.neighbour(-1, 0).area().west > bounds.west
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place() -> impl Strategy<Value = Place> {
        (-180.0..180.0f64, -85.0..85.0f64).prop_map(|(longitude, latitude)| Place { longitude, latitude })
    }

    /// As the documentation of stock servers has it.
    #[test]
    fn palermo_and_catania() {
        let palermo = Place::new(13.361389, 38.115556).unwrap();
        let catania = Place::new(15.087269, 37.502669).unwrap();
        assert_eq!((palermo.score(), catania.score()), (3479099956230698, 3479447370796909));
        let [a, b] = [palermo, catania].map(|p| Place::of_score(p.score() as f64));
        assert_eq!(format!("{:.4}", a.distance_m(b)), "166274.1516");
        assert_eq!((&a.geohash(), &b.geohash()), (b"sqc8b49rny0", b"sqdtr74hyu0"));
    }

    #[test]
    fn places_without_a_score_are_refused() {
        for (longitude, latitude) in [(180.1, 0.0), (-181.0, 0.0), (0.0, 85.06), (0.0, -86.0), (f64::NAN, 0.0)] {
            assert_eq!(Place::new(longitude, latitude), None);
        }
        for score in [f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300, 2f64.powi(63), 0.5] {
            let place = Place::of_score(score);
            assert!(Place::new(place.longitude, place.latitude).is_some(), "{score}");
        }
    }

    proptest! {
        #[test]
        fn a_score_leads_back_to_where_it_came_from(place in place()) {
            let back = Place::of_score(place.score() as f64);
            prop_assert!(place.distance_m(back) < 1.0);
            prop_assert_eq!(back.score(), place.score());
        }

        #[test]
        fn nothing_inside_lies_outside_of_the_searched_scores(
            centre in place(), reach in 1.0..2_000_000.0f64, box_too in any::<bool>(),
            east in -1.0..1.0f64, north in -1.0..1.0f64,
        ) {
            // Where cells and meridians meet, stock servers miss some as well.
            prop_assume!(centre.latitude.abs() < 60.0 && centre.longitude.abs() < 140.0);
            let shape = if box_too {
                Shape::Box { width_m: reach, height_m: reach / 2.0 }
            } else {
                Shape::Circle { radius_m: reach }
            };
            let search = Search { centre, shape };
            let span = degrees(reach / EARTH_RADIUS_M);
            let place = Place { longitude: centre.longitude + east * span, latitude: centre.latitude + north * span };
            let place = Place::of_score(place.score() as f64);
            if search.distance_inside_m(place).is_some() {
                let score = place.score() as f64;
                prop_assert!(search.scores().iter().any(|(from, to)| (*from..*to).contains(&score)));
            }
        }
    }
}
