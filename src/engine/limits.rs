//! Every limit of the engine, in one place.
