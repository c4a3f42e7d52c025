//! What an inference engine really says about itself: alive, and with which models.
