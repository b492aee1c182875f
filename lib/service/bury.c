/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Freeing what the devices of deleted volumes have.
 *
 * With its record in the registry buried, a volume is gone: its name is free,
 * and what is left is a tombstone, which names the device, and the device.
 * Both go here.  A device is only ever freed because of its tombstone, so that
 * one without a name (made by a message, or by others) is safe.
 *
 *  B1  Who buries asks how much work it is.  A little is done before the
 *      answer, so that a script finds the space free.  The rest, and to remove
 *      tombstones whose devices are gone, is for the burier, a thread that runs
 *      while the pool is served (burier.c).
 *  B2  Nobody else touches a device that the burier has: the pool claims it.
 *  B3  What the burier has not done when the pool is closed, or lost, the
 *      next open finds by the tombstones (thin_bury_recover()), and does if
 *      it is little; else the next burier, or a verb in a pool that nobody
 *      serves (thin_bury_rest()).
 *  B4  While there is a tombstone nobody here makes a device of its number.
 *      Others may, where the pool was in their hands (the kernel's, or
 *      another program's): the tombstone says what the device it means was
 *      born with, and another one is left alone.
 */
#include "service/bury.h"

#include "service/service.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* --- which device is meant ------------------------------------------------ */

static int find_device(struct thinbd *t, uint32_t device, struct thin_device_info *ret)
{
	int r = thin_pool_next_device(t->pool, device, ret);

	return !r && ret->id != device ? -ENOENT : r;
}

static char *born_text(const struct thin_device_info *info,
		       char ret[static THIN_BORN_MAX])
{
	snprintf(ret, THIN_BORN_MAX, "time %" PRIu32 ", transaction %" PRIu64,
		 info->creation_time, info->transaction_id);
	return ret;
}

const char *thin_device_born(struct thinbd *t, uint32_t device,
			     char ret[static THIN_BORN_MAX])
{
	struct thin_device_info info;

	return find_device(t, device, &info) ? NULL : born_text(&info, ret);
}

/* B4.  @ret: is there anything to free? */
static int is_meant(struct thinbd *t, const struct thin_volume_conf *tombstone, bool *ret)
{
	char born[THIN_BORN_MAX], line[THIN_ERROR_TEXT];
	struct thin_device_info info;
	int r = find_device(t, tombstone->device, &info);

	*ret = !r;
	if (r)
		return r == -ENOENT ? 0 : r;
	if (!tombstone->born || !strcmp(tombstone->born, born_text(&info, born)))
		return 0;
	*ret = false;
	snprintf(line, sizeof(line),
		 "device %" PRIu32
		 " was deleted (%s), and is another one now (%s): it is "
		 "left alone",
		 tombstone->device, tombstone->born, born);
	thin_service_tell(t, THINBD_EVENT_NOTE, line);
	return 0;
}

/* --- doing it --------------------------------------------------------------- */

/* The tombstones of @devices; others have none any more, and are left out. */
static int find_tombstones(struct thinbd *t, const uint32_t *devices, size_t nr,
			   struct thin_volume_list *ret)
{
	ret->at = calloc(nr + 1, sizeof(*ret->at));
	if (!ret->at)
		return -ENOMEM;
	for (size_t i = 0; i < nr; i++) {
		_cleanup_volume_conf const struct thin_volume_conf *v = NULL;

		if (!thin_registry_find_device(t->registry, devices[i], &v) &&
		    thin_is_tombstone(v->name))
			ret->at[ret->nr++] = thin_steal(v);
	}
	return 0;
}

/* The devices are gone already, or are not those that were meant. */
static int drop_tombstones(struct thinbd *t, const struct thin_volume_list *list,
			   struct thin_error *e)
{
	_cleanup_free struct thin_change *changes = calloc(list->nr, sizeof(*changes));

	if (!changes)
		return -ENOMEM;
	for (size_t i = 0; i < list->nr; i++)
		changes[i] = (struct thin_change){
			.kind = THIN_CHANGE_DELETE,
			.name = list->at[i]->name,
		};
	thin_mutex_lock(&t->lock);
	int r = thin_registry_begin(t->registry, changes, list->nr, e);
	if (!r)
		thin_registry_finish(t->registry);
	thin_mutex_unlock(&t->lock);
	return r;
}

static int delete_devices(struct thinbd *t, const struct thin_volume_list *list,
			  int (*go_on)(void *ctx), void *ctx)
{
	_cleanup_free uint32_t *left = calloc(list->nr, sizeof(*left));
	size_t nr_left = 0;

	if (!left)
		return -ENOMEM;
	for (size_t i = 0; i < list->nr; i++) {
		bool meant;
		int r = is_meant(t, list->at[i], &meant);
		if (r)
			return r;
		if (meant)
			left[nr_left++] = list->at[i]->device;
	}
	return thin_pool_delete_slowly(t->pool, left, nr_left, go_on, ctx);
}

static int free_together(struct thinbd *t, const struct thin_volume_list *list,
			 int (*go_on)(void *ctx), void *ctx, struct thin_error *e)
{
	int r = list->nr ? delete_devices(t, list, go_on, ctx) : 0;

	if (r)
		thin_error_set(e, r,
			       "device %u was deleted, but its blocks are not free yet: "
			       "%s; that is tried again when the pool is opened",
			       list->at[0]->device, thin_strerror(r));
	return r;
}

static int bury_together(struct thinbd *t, const uint32_t *devices, size_t nr,
			 int (*go_on)(void *ctx), void *ctx, struct thin_error *e)
{
	_cleanup_volume_list struct thin_volume_list list = {0};
	int r = find_tombstones(t, devices, nr, &list);

	if (!r)
		r = free_together(t, &list, go_on, ctx, e);
	return r || !list.nr ? r : drop_tombstones(t, &list, e);
}

int thin_bury_but_tombstones(struct thinbd *t, const uint32_t *devices, size_t nr,
			     struct thin_error *e)
{
	_cleanup_volume_list struct thin_volume_list list = {0};
	int r = find_tombstones(t, devices, nr, &list);

	return r ? r : free_together(t, &list, NULL, NULL, e);
}

/* Together costs two commits and a change; one by one goes as far as it can. */
int thin_bury_slowly(struct thinbd *t, const uint32_t *devices, size_t nr,
		     int (*go_on)(void *ctx), void *ctx, struct thin_error *e)
{
	int first = nr ? bury_together(t, devices, nr, go_on, ctx, e) : 0;

	if (!first || first == -EINTR || nr == 1)
		return first;
	first = 0;
	for (size_t i = 0; i < nr; i++) {
		int r = bury_together(t, &devices[i], 1, go_on, ctx, first ? NULL : e);
		if (r == -EINTR)
			return r;
		if (r && !first)
			first = r;
	}
	return first;
}

int thin_bury(struct thinbd *t, const uint32_t *devices, size_t nr, struct thin_error *e)
{
	return thin_bury_slowly(t, devices, nr, NULL, NULL, e);
}

/* --- how much work it is --------------------------------------------------------- */

/*
 * Mappings that are let go of before the answer: a millisecond or two.  A device
 * counts for some itself, and one that is not there for no more.
 */
#define LITTLE	   UINT64_C(16384)
#define FOR_ITSELF 16

bool thin_bury_is_little(struct thinbd *t, const uint32_t *devices, size_t nr)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < nr && sum <= LITTLE; i++) {
		uint64_t work = 0;

		if (thin_pool_delete_work(t->pool, devices[i], LITTLE, &work))
			work = 0; /* the deletion will say so */
		sum += work + FOR_ITSELF;
	}
	return sum <= LITTLE;
}

uint64_t thin_mapped_bytes(struct thinbd *t, const uint32_t *devices, size_t nr)
{
	uint64_t blocks = 0;

	for (size_t i = 0; i < nr; i++) {
		struct thin_device_info info;
		if (!find_device(t, devices[i], &info))
			blocks += info.mapped_blocks;
	}
	return blocks * t->block_size;
}

int thin_tombstone_devices(struct thinbd *t, struct thin_ids *ret)
{
	_cleanup_volume_list struct thin_volume_list list = {0};
	int r = thin_registry_tombstones(t->registry, &list);

	if (r)
		return r;
	ret->at = calloc(list.nr + 1, sizeof(*ret->at));
	if (!ret->at)
		return -ENOMEM;
	for (size_t i = 0; i < list.nr; i++)
		ret->at[ret->nr++] = list.at[i]->device;
	return 0;
}

uint64_t thin_buried_bytes(struct thinbd *t)
{
	struct thin_ids ids = {0};
	uint64_t bytes = 0;

	if (!thin_tombstone_devices(t, &ids))
		bytes = thin_mapped_bytes(t, ids.at, ids.nr);
	free(ids.at);
	return bytes;
}

/* --- what earlier opens have left ---------------------------------------------- */

void thin_bury_report(struct thinbd *t, int r, const struct thin_error *why)
{
	struct thin_error line;

	(void)thin_error_set(&line, r, "deleted volumes: %s",
			     why->text[0] ? why->text : thin_strerror(r));
	thin_service_tell(t, THINBD_EVENT_NOTE, line.text);
}

static int bury_left(struct thinbd *t,
		     bool (*which)(struct thinbd *t, const uint32_t *devices, size_t nr))
{
	struct thin_error why = {0};
	struct thin_ids ids = {0};
	int r = thin_tombstone_devices(t, &ids), failed = 0;

	if (!r && (!which || which(t, ids.at, ids.nr)))
		failed = thin_bury(t, ids.at, ids.nr, &why);
	if (failed)
		thin_bury_report(t, failed, &why);
	free(ids.at);
	return r;
}

/* B3.  What can not be done now keeps nobody from using the rest. */
int thin_bury_recover(struct thinbd *t)
{
	return bury_left(t, thin_bury_is_little);
}

void thin_bury_rest(struct thinbd *t)
{
	int r = t->registry && !t->read_only ? bury_left(t, NULL) : 0;

	if (r)
		thin_bury_report(t, r, &(struct thin_error){0});
}
