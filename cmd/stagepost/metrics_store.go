package main

import (
	"context"
	"time"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/observe/metrics"
)

// countWait is how long a scrape waits for a queue to be counted; then it shows the last count.
const countWait = 200 * time.Millisecond

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1e3 }

// age is how long ago something was; 0 where there is nothing.
func age(t *time.Time, now time.Time) float64 {
	if t == nil {
		return 0
	}
	return max(now.Sub(*t).Seconds(), 0)
}

func (d *daemon) storeMetrics() []metrics.Family {
	state := metrics.Label{Name: "state", Values: []string{admin.StateActive, admin.StateDeferred, admin.StateHeld, admin.StateFailed}}
	states := func(s *metrics.Samples, n admin.States) {
		for i, v := range []int64{n.Active, n.Deferred, n.Held, n.Failed} {
			s.Add(float64(v), state.Values[i])
		}
	}
	last := func(read func(admin.QueueCounts, *metrics.Samples)) func(*metrics.Samples) {
		return func(s *metrics.Samples) {
			q, _ := d.census.Last() // what kept the count from its end was logged by the store
			read(q, s)
		}
	}
	return []metrics.Family{
		{Name: "stagepost_queue_messages", Kind: metrics.Gauge, Labels: []metrics.Label{state},
			Help: "Messages in the queue, as counted last: due or in an attempt, waiting for another try, held, or with nothing left to do but to tell the sender.",
			Read: func(s *metrics.Samples) {
				q, _ := d.census.Count(context.Background(), countWait)
				states(s, q.States)
			}},
		{Name: "stagepost_queue_recipients", Kind: metrics.Gauge, Help: "Recipients in the queue that are not settled, as counted last.", Labels: []metrics.Label{state},
			Read: last(func(q admin.QueueCounts, s *metrics.Samples) { states(s, q.Recipients) })},
		{Name: "stagepost_queue_oldest_age_seconds", Kind: metrics.Gauge, Help: "The age of the oldest message in the queue, as counted last; 0 when there is none.",
			Read: last(func(q admin.QueueCounts, s *metrics.Samples) { s.Add(age(q.Oldest, time.Now())) })},
		{Name: "stagepost_queue_oldest_deferred_age_seconds", Kind: metrics.Gauge, Help: "The age of the oldest message that waits for another try; 0 when there is none.",
			Read: last(func(q admin.QueueCounts, s *metrics.Samples) { s.Add(age(q.OldestDeferred, time.Now())) })},
		{Name: "stagepost_queue_counted_timestamp_seconds", Kind: metrics.Gauge, Help: "When the queue was counted last; a long queue is counted in the background, less often.",
			Read: last(func(q admin.QueueCounts, s *metrics.Samples) { s.Add(seconds(q.CountedAt)) })},
		{Name: "stagepost_store_messages", Kind: metrics.Gauge, Help: "Messages in the store now.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.store.Health().Depth)) }},
		{Name: "stagepost_store_write_seconds", Kind: metrics.Histogram, Help: "How long synced writes took: commits of messages, and batches of outcomes.",
			Read: func(s *metrics.Samples) { s.Histogram(d.store.Writes()) }},
		{Name: "stagepost_store_last_write_seconds", Kind: metrics.Gauge, Help: "How long the last synced write took.",
			Read: func(s *metrics.Samples) { s.Add(d.store.Health().Sync.Seconds()) }},
		{Name: "stagepost_store_stalled", Kind: metrics.Gauge, Help: "1 while writes wait, so that mail is answered 452.",
			Read: func(s *metrics.Samples) { s.Flag(d.store.Health().Stalled) }},
		{Name: "stagepost_store_full", Kind: metrics.Gauge, Help: "1 while there is too little space on the disk, so that mail is answered 452.",
			Read: func(s *metrics.Samples) { s.Flag(d.store.Health().Full) }},
		{Name: "stagepost_store_free_bytes", Kind: metrics.Gauge, Help: "Free space on the file system of the data folder; -1 when it is not known.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.store.Health().Free)) }},
		{Name: "stagepost_store_disk_bytes", Kind: metrics.Gauge, Help: "What the store takes on disk, without the contents above 32 KiB.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.store.Usage().Disk)) }},
		{Name: "stagepost_store_free_slot_bytes", Kind: metrics.Gauge, Help: "What files take on disk that wait for the content of the next messages.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.store.Usage().Free)) }},
		{Name: "stagepost_store_read_amplification", Kind: metrics.Gauge, Help: "Files that a read of the store may have to look into; it grows when the disk is too slow to tidy up.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.store.Usage().Amplification)) }},
		{Name: "stagepost_content_bytes", Kind: metrics.Gauge, Help: "Content in memory that is being received.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.store.Usage().Body)) }},
		{Name: "stagepost_content_limit_bytes", Kind: metrics.Gauge, Help: "The most content in memory that is being received; when it is spent, mail is answered 451.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.store.Usage().Budget)) }},
		{Name: "stagepost_records_dropped_total", Kind: metrics.Counter, Help: "Entries of message records that were lost, for want of memory or since the disk did not take them.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.records.Dropped())) }},
		{Name: "stagepost_log_dropped_total", Kind: metrics.Counter, Help: "Lines of the log that were lost.",
			Read: func(s *metrics.Samples) { s.Add(float64(d.logDropped())) }},
		{Name: "stagepost_healthy", Kind: metrics.Gauge, Help: "What /healthz says: 1 while mail is taken.",
			Read: func(s *metrics.Samples) { s.Flag(d.health() == nil) }},
		{Name: "stagepost_build_info", Kind: metrics.Gauge, Help: "Always 1; the version is a label.", Labels: []metrics.Label{{Name: "version", Of: "the version that runs"}},
			Read: func(s *metrics.Samples) { s.Add(1, version()) }},
	}
}
