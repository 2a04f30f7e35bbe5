/* SPDX-License-Identifier: MIT
 *
 * CPU quotas of the targets' control groups: the limit for the process, and for each stall by how much the
 * group's counts of throttling rose since the loop was last seen asleep. What that has to do with the stall
 * is the reader's to say.
 */
#include "watch_state.h"

/* More often while a process is young: it may be put into its group only once it runs. */
#define LOOK_FIRST_NS (NS / 20)
#define LOOK_EVERY_NS (2 * NS)

void watch_quota_look(struct watch *w, struct watch_proc *p)
{
	if (w->now < p->next_quota)
		return;
	uint64_t age = w->now > p->seen.start_ns ? w->now - p->seen.start_ns : 0;
	p->next_quota = w->now + LOOK_FIRST_NS + (age < LOOK_EVERY_NS ? age : LOOK_EVERY_NS);
	quota_look(&p->quota, p->pid);
	int i = quota_tightest(&p->quota);
	double quota = i < 0 ? -1 : (double)p->quota.level[i].quota_us / 1e6,
	       period = i < 0 ? -1 : (double)p->quota.level[i].period_us / 1e6;
	if (quota == p->seen.quota_s && period == p->seen.quota_period_s)
		return;
	p->seen.quota_s = quota;
	p->seen.quota_period_s = period;
	writer_put_process(w->writer, &p->seen);
}

void watch_quota_base(struct watch_thread *t)
{
	struct watch_loop *l = t->loop;
	quota_read(&t->proc->quota, l->quota_base);
	l->quota_serial = t->proc->quota.serial;
}

void watch_quota_stall(struct watch_thread *t, struct obs_stall *s)
{
	struct quota_count now[QUOTA_LEVELS], rose;
	const struct quota *q = &t->proc->quota;
	s->throttled_ns = s->throttled_periods = -1;
	if (!q->n || t->loop->quota_serial != q->serial)
		return;
	quota_read(q, now);
	quota_most(q, t->loop->quota_base, now, &rose);
	s->throttled_ns = (int64_t)rose.throttled_ns;
	s->throttled_periods = (int64_t)rose.periods;
}
