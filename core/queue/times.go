package queue

import (
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
)

// Times say when mail is tried again, when it is given up, and when its sender is told that it is late. A zero field is not set. Those of a sender
// count before those of a site, and both before those of Settings.
//
// A message knows its sender from the start. Its site is known where it waits in a lane whose site is, which is so wherever an attempt was
// made lately. Where it is not known, a message is given up by the longest time that any site has: too late rather than too early, and the
// next attempt sets it right.
type Times struct {
	Retry  []time.Duration // waits after the first, second ... deferral; the last repeats
	Expire time.Duration   // after arrival
	Warn   *time.Duration  // after arrival; 0: never
	By     TimesOrigin
}

// TimesOrigin says where each was set; see Origin.
type TimesOrigin struct{ Retry, Expire, Warn string }

// over fills what t leaves unset from u.
func (t Times) over(u Times) Times {
	if t.Retry == nil {
		t.Retry, t.By.Retry = u.Retry, u.By.Retry
	}
	if t.Expire == 0 {
		t.Expire, t.By.Expire = u.Expire, u.By.Expire
	}
	if t.Warn == nil {
		t.Warn, t.By.Warn = u.Warn, u.By.Warn
	}
	return t
}

// Where a site is not known.
const anySite = " "

// NullSender is the name of mail without a sender in Shape.Senders.
const NullSender = "<>"

// times are those in force for a message to a site. Without env, they are the site's.
func (s *Settings) times(env *message.Envelope, site string) Times {
	t := Times{Retry: s.Retry, Expire: s.Expire, Warn: &s.Warn}
	if s.Shape == nil {
		return t
	}
	t.By = s.Shape.TimesBy
	if site == anySite {
		for _, other := range s.Shape.SiteTimes {
			t.Expire = max(t.Expire, other.Expire)
		}
	} else {
		t = s.Shape.SiteTimes[site].over(t)
	}
	if env != nil {
		t = s.Shape.Senders[senderOf(env.Sender)].over(t)
	}
	return t
}

func senderOf(a smtp.Address) string {
	if a.IsNull() {
		return NullSender
	}
	return a.Domain
}

// special tells whether times of sites or senders are set.
func (s *Settings) special() bool {
	return s.Shape != nil && len(s.Shape.SiteTimes)+len(s.Shape.Senders) > 0
}

// leastExpire is the time after which some message may be given up.
func (s *Settings) leastExpire() time.Duration {
	least := s.Expire
	if s.special() {
		for t := range s.Shape.allTimes {
			if t.Expire > 0 {
				least = min(least, t.Expire)
			}
		}
	}
	return least
}

// warns are the times after which some senders are told, the shortest first, up to maxWarns.
func (s *Settings) warns() (after []time.Duration) {
	if s.Warn > 0 {
		after = append(after, s.Warn)
	}
	if s.special() {
		for t := range s.Shape.allTimes {
			if t.Warn != nil && *t.Warn > 0 && !slices.Contains(after, *t.Warn) {
				after = append(after, *t.Warn)
			}
		}
	}
	slices.Sort(after)
	return after[:min(len(after), maxWarns)]
}

const maxWarns = 16 // times at which a message that waits for its time comes to review for that

// allTimes are those of sites and senders.
func (s *Shape) allTimes(yield func(Times) bool) {
	for _, all := range []map[string]Times{s.SiteTimes, s.Senders} {
		for _, t := range all {
			if !yield(t) {
				return
			}
		}
	}
}

// siteOfLane is the site that a lane leads to, as far as that is known without a look into the DNS, or anySite.
func (q *Queue) siteOfLane(name store.Lane, shape *Shape) string {
	if shape == nil || len(shape.SiteTimes) == 0 {
		return ""
	}
	hop, _, site := message.SplitLane(name)
	via, rest, _ := strings.Cut(hop, ":")
	switch {
	case name == "" || isAside(name):
		return anySite
	case site != "":
		return site
	case via == message.ViaSMTP || via == message.ViaLMTP:
		return rest
	case via != "mx":
		return hop
	case shape.exact(rest) || q.Resolver == nil || strings.HasPrefix(rest, "["):
		return rest
	}
	sh := q.lanes.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if la := sh.lanes[name]; la != nil && la.site != nil {
		return la.site.key.name
	}
	return anySite
}
