/* SPDX-License-Identifier: BSD-3-Clause */
#include "storage/file.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/*
 * Transfers.  Segments that follow one another in the file become one run,
 * which is one system call.
 *
 * O_DIRECT wants offsets, lengths and buffers aligned.  A file opened so has
 * a second descriptor without it, and a call that is not aligned in the file
 * goes through the page cache.  The kernel keeps the two coherent, with one
 * exception, which direct_lock closes:
 *
 *   [D1] A page is brought in and made dirty for half of it, while another
 *        thread writes the other half directly: the page, written back
 *        later, would undo that.  So writes through the page cache exclude
 *        direct ones.
 *
 * Where only a buffer is not aligned, it is copied to one that is.
 */

size_t thin_run_take(const struct thin_segment *seg, size_t nr, struct iovec *iov,
		     size_t max, struct thin_run *ret)
{
	size_t n = 0;

	assert(nr && max);
	*ret = (struct thin_run){.offset = seg[0].offset, .iov = iov};
	do {
		iov[n] = (struct iovec){seg[n].buf, seg[n].len};
		ret->len += seg[n].len;
		n++;
	} while (n < nr && n < max && seg[n].offset == ret->offset + ret->len);
	ret->nr_iov = (int)n;
	return n;
}

void thin_run_advance(struct thin_run *run, size_t done)
{
	assert(done <= run->len);
	run->offset += done;
	run->len -= done;
	while (run->nr_iov && done >= run->iov->iov_len) {
		done -= run->iov->iov_len;
		run->iov++;
		run->nr_iov--;
	}
	if (!done)
		return;
	run->iov->iov_base = (uint8_t *)run->iov->iov_base + done;
	run->iov->iov_len -= done;
}

int thin_run_transfer(int fd, bool write, struct thin_run *run)
{
	while (run->len) {
		off_t at = (off_t)run->offset;
		ssize_t n = write ? pwritev(fd, run->iov, run->nr_iov, at)
				  : preadv(fd, run->iov, run->nr_iov, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		thin_run_advance(run, (size_t)n);
	}
	return 0;
}

static bool buffers_aligned(const struct thin_run *run, uint32_t align)
{
	for (int i = 0; i < run->nr_iov; i++)
		if ((uintptr_t)run->iov[i].iov_base % align)
			return false;
	return true;
}

/* Copy between a run's buffers and one in which they follow one another. */
static void copy_run(const struct thin_run *run, uint8_t *flat, bool to_flat)
{
	for (int i = 0; i < run->nr_iov; i++) {
		const struct iovec *v = &run->iov[i];

		if (to_flat)
			memcpy(flat, v->iov_base, v->iov_len);
		else
			memcpy(v->iov_base, flat, v->iov_len);
		flat += v->iov_len;
	}
}

static int bounce(struct thin_file *f, bool write, const struct thin_run *run)
{
	size_t align = f->direct_mem_align;
	_cleanup_free uint8_t *flat = NULL;
	struct iovec iov;
	struct thin_run aligned;
	int r;

	flat = aligned_alloc(align, (run->len + align - 1) / align * align);
	if (!flat)
		return -ENOMEM;
	iov = (struct iovec){flat, run->len};
	aligned = (struct thin_run){run->offset, run->len, &iov, 1};
	if (write)
		copy_run(run, flat, true);
	r = thin_run_transfer(f->direct_fd, write, &aligned);
	if (!r && !write)
		copy_run(run, flat, false);
	return r;
}

static int transfer(struct thin_file *f, int fd, bool write,
		    const struct thin_segment *seg, size_t nr)
{
	struct iovec iov[THIN_RUN_SEGMENTS];
	int r = 0;

	while (nr && !r) {
		struct thin_run run;
		size_t n = thin_run_take(seg, nr, iov, THIN_RUN_SEGMENTS, &run);

		if (fd == f->direct_fd && !buffers_aligned(&run, f->direct_mem_align))
			r = bounce(f, write, &run);
		else
			r = thin_run_transfer(fd, write, &run);
		seg += n;
		nr -= n;
	}
	return r;
}

static bool fits_direct(const struct thin_file *f, const struct thin_segment *seg,
			size_t nr)
{
	if (f->direct_fd < 0)
		return false;
	for (size_t i = 0; i < nr; i++)
		if (seg[i].offset % f->direct_align || seg[i].len % f->direct_align)
			return false;
	return true;
}

int thin_file_read(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	struct thin_file *f = thin_file_of(s);

	return transfer(f, fits_direct(f, seg, nr) ? f->direct_fd : f->fd, false, seg,
			nr);
}

int thin_file_write(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	struct thin_file *f = thin_file_of(s);
	int r;

	if (f->direct_fd < 0)
		return transfer(f, f->fd, true, seg, nr);
	if (fits_direct(f, seg, nr)) {
		thin_sharded_read(&f->direct_lock);
		r = transfer(f, f->direct_fd, true, seg, nr);
		thin_sharded_read_end(&f->direct_lock);
	} else {
		thin_sharded_write(&f->direct_lock); /* [D1] */
		r = transfer(f, f->fd, true, seg, nr);
		thin_sharded_write_end(&f->direct_lock);
	}
	return r;
}
