package queue

import (
	"hash/fnv"
	"slices"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
)

// A pool is sources that share mail. Which of them a message goes by to a domain follows from its id and the domain alone, so it is the same at
// each attempt: a receiver that wants to see it again from the same address does. What that one may not send now goes by the
// next of the pool, and so on around.

// Pool is one of them.
type Pool struct {
	Sources []string
	Weights []int // as many as Sources, not all 0; nil: they are equal
}

// order lists the sources for a message to a domain, the one that it belongs to first.
func (p *Pool) order(id message.ID, domain string) []string {
	total := 0
	weight := func(i int) int {
		if p.Weights == nil {
			return 1
		}
		return p.Weights[i]
	}
	for i := range p.Sources {
		total += weight(i)
	}
	h := fnv.New64a()
	h.Write(id[:])
	h.Write([]byte(domain))
	sum := h.Sum64()
	left := int((sum ^ sum>>32) % uint64(max(1, total)))
	first := 0
	for ; left >= weight(first); first++ {
		left -= weight(first)
	}
	return append(slices.Clone(p.Sources[first:]), p.Sources[:first]...)
}

// draw takes a source where a plan names a pool; spare are those that it may go by besides.
func (s *Settings) draw(plan *message.Plan, id message.ID, domain string) (spare []string) {
	if plan.Source == "" || s.Shape == nil {
		return nil
	}
	p := s.Shape.Pools[plan.Source]
	if p == nil {
		return nil
	}
	order := p.order(id, domain)
	if plan.SourceBy != "" {
		plan.SourceBy += " from pool " + plan.Source
	}
	plan.Source = order[0]
	return order[1:]
}

// pass sends a job by the next source that it may go by. The caller says that it is its lane's no more. No lock is held.
func (q *Queue) pass(j *job, why string) {
	other, plan := *j, *j.plan
	plan.Source, other.spare = j.spare[0], j.spare[1:]
	other.plan, other.lane, other.la, other.site, other.pace = &plan, laneOf(j.flight.msg.env, &plan), nil, "", nil
	other.steps.steps = append(slices.Clone(j.steps.steps), observe.Step{Time: q.now(), Stage: "route", Generation: q.Current.Number(), Verdict: "route",
		Detail: "to " + other.lane + ", since " + why})
	q.lanes.push(&other)
}
