//! Slot reservations, a bounded waiting line and ejection of failing endpoints.
