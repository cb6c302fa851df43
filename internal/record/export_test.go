package record

import "time"

// SetFinishPatience sets how long Finish retries.
func (s *Store) SetFinishPatience(d time.Duration) { s.patience = d }
