/* SPDX-License-Identifier: BSD-3-Clause */
#include "fault_io.h"

#include <errno.h>

static struct fault_storage *to_fault(struct thin_storage *s)
{
	return (struct fault_storage *)s;
}

/* Is it this one's turn? */
static bool strikes(struct fault_plan *p, enum fault_class class)
{
	if (!(p->classes & class) || !p->at || p->paused)
		return false;
	p->seen++;
	if (p->sticky ? p->seen < p->at : p->seen != p->at)
		return false;
	p->fired = true;
	p->flush_fired |= class == FAULT_FLUSH;
	return true;
}

static int fault_read(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	struct fault_storage *f = to_fault(s);

	if (strikes(f->plan, FAULT_READ))
		return f->plan->error;
	return thin_storage_read(f->under, seg, nr);
}

static int write_half(struct fault_storage *f, const struct thin_segment *seg, size_t nr)
{
	int r = 0;

	for (size_t i = 0; i < nr && !r; i++) {
		size_t half = seg[i].len / 2 / THIN_SECTOR * THIN_SECTOR;

		r = thin_storage_write_at(f->under, seg[i].offset, seg[i].buf, half);
	}
	return r;
}

static int fault_write(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	struct fault_storage *f = to_fault(s);
	int r = 0;

	if (!strikes(f->plan, FAULT_WRITE))
		return thin_storage_write(f->under, seg, nr);
	if (f->plan->done == FAULT_ALL)
		r = thin_storage_write(f->under, seg, nr);
	else if (f->plan->done == FAULT_HALF)
		r = write_half(f, seg, nr);
	return r ? r : f->plan->error;
}

static int fault_zero(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	struct fault_storage *f = to_fault(s);
	int r = 0;

	if (!strikes(f->plan, FAULT_WRITE))
		return thin_storage_zero(f->under, offset, len);
	if (f->plan->done != FAULT_NOTHING)
		r = thin_storage_zero(f->under, offset,
				      f->plan->done == FAULT_ALL
					      ? len
					      : len / 2 / THIN_SECTOR * THIN_SECTOR);
	return r ? r : f->plan->error;
}

static int fault_punch(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	struct fault_storage *f = to_fault(s);

	if (strikes(f->plan, FAULT_PUNCH))
		return f->plan->error;
	return thin_storage_punch(f->under, offset, len);
}

static int fault_flush(struct thin_storage *s)
{
	struct fault_storage *f = to_fault(s);

	if (strikes(f->plan, FAULT_FLUSH))
		return f->plan->error;
	return thin_storage_flush(f->under);
}

static int fault_size(struct thin_storage *s, uint64_t *ret_bytes)
{
	return thin_storage_size(to_fault(s)->under, ret_bytes);
}

static int fault_resize(struct thin_storage *s, uint64_t bytes)
{
	struct fault_storage *f = to_fault(s);

	if (strikes(f->plan, FAULT_RESIZE))
		return f->plan->error;
	return thin_storage_resize(f->under, bytes);
}

static void fault_close(struct thin_storage *s)
{
	(void)s;
}

static const struct thin_storage_ops fault_ops = {
	.name = "fault",
	.read = fault_read,
	.write = fault_write,
	.zero = fault_zero,
	.punch = fault_punch,
	.flush = fault_flush,
	.size = fault_size,
	.resize = fault_resize,
	.close = fault_close,
};

void fault_lend(struct fault_storage *f, struct fault_plan *plan,
		struct thin_storage *under)
{
	*f = (struct fault_storage){.base.ops = &fault_ops, .plan = plan, .under = under};
}
