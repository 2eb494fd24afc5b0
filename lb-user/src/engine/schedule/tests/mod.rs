mod pauses;
mod random;
mod times;
mod world;
