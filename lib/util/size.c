/* SPDX-License-Identifier: BSD-3-Clause */
#include "util/size.h"

#include "util/checked.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char units[] = "KMGTPE";
#define NR_UNITS (sizeof(units) - 1)

static int not_a_size(const char *text, struct thin_error *e)
{
	return thin_error_set(
		e, -EINVAL,
		"\"%.64s\" is not a size: bytes, or a whole number with one "
		"of K M G T P E",
		text);
}

static int too_big(const char *text, struct thin_error *e)
{
	return thin_error_set(e, -ERANGE, "\"%.64s\" is too big", text);
}

/* The digits at *@text, which is moved past them. */
static int parse_digits(const char **text, uint64_t *ret)
{
	const char *p = *text;
	uint64_t n = 0;

	if (!isdigit((unsigned char)*p))
		return -EINVAL;
	for (; isdigit((unsigned char)*p); p++)
		if (!thin_mul_ok(n, 10, &n) || !thin_add_ok(n, (uint64_t)(*p - '0'), &n))
			return -ERANGE;
	*text = p;
	*ret = n;
	return 0;
}

/* "", "K", "k" or "KiB" to a power of two; -1 for anything else. */
static int unit_shift(const char *unit)
{
	const char *found;

	if (!*unit)
		return 0;
	found = strchr(units, toupper((unsigned char)*unit));
	if (!found || (unit[1] && strcmp(unit + 1, "iB")))
		return -1;
	return 10 * (int)(found - units + 1);
}

int thin_size_parse(const char *text, uint64_t *ret_bytes, struct thin_error *e)
{
	const char *p = text;
	uint64_t n = 0;
	int shift, r;

	r = parse_digits(&p, &n);
	if (r == -ERANGE)
		return too_big(text, e);
	if (r)
		return not_a_size(text, e);
	shift = unit_shift(p);
	if (shift < 0)
		return not_a_size(text, e);
	if (!thin_mul_ok(n, UINT64_C(1) << shift, &n))
		return too_big(text, e);
	*ret_bytes = n;
	return 0;
}

char *thin_size_exact(uint64_t bytes, char buf[static THIN_SIZE_TEXT])
{
	size_t unit = 0;

	while (bytes && bytes % 1024 == 0 && unit < NR_UNITS) {
		bytes /= 1024;
		unit++;
	}
	snprintf(buf, THIN_SIZE_TEXT, "%" PRIu64 "%.1s", bytes,
		 unit ? &units[unit - 1] : "");
	return buf;
}

/* @bytes in parts of 1024^@unit, @parts to one, rounded to the nearest. */
static uint64_t rounded(uint64_t bytes, size_t unit, unsigned parts)
{
	uint64_t one = UINT64_C(1) << (10 * unit);
	uint64_t whole = bytes / one, rest = bytes % one;

	/* Nothing overflows: 16 * 10 and 1024^6 * 10 fit. */
	return whole * parts + (rest * parts + one / 2) / one;
}

char *thin_size_human(uint64_t bytes, char buf[static THIN_SIZE_TEXT])
{
	uint64_t whole = bytes, tenths;
	size_t unit = 0;

	while (whole >= 1024 && unit < NR_UNITS)
		whole = rounded(bytes, ++unit, 1);
	tenths = rounded(bytes, unit, 10);
	if (tenths < 100 && tenths % 10)
		snprintf(buf, THIN_SIZE_TEXT, "%" PRIu64 ".%" PRIu64 "%.1s", tenths / 10,
			 tenths % 10, &units[unit - 1]);
	else
		snprintf(buf, THIN_SIZE_TEXT, "%" PRIu64 "%.1s", whole,
			 unit ? &units[unit - 1] : "");
	return buf;
}

static int parse_percent(const char *text, struct thin_amount *ret, struct thin_error *e)
{
	const char *p = text;
	uint64_t n = 0;
	int r;

	r = parse_digits(&p, &n);
	if (r == -EINVAL || (!r && strcmp(p, "%")))
		return thin_error_set(e, -EINVAL, "\"%.64s\" is not a percentage", text);
	if (r || n > 100)
		return thin_error_set(e, -ERANGE, "\"%.64s\" is over 100%%", text);
	*ret = (struct thin_amount){.value = n, .percent = true};
	return 0;
}

int thin_amount_parse(const char *text, struct thin_amount *ret, struct thin_error *e)
{
	uint64_t bytes;
	int r;

	if (strchr(text, '%'))
		return parse_percent(text, ret, e);
	r = thin_size_parse(text, &bytes, e);
	if (r)
		return r;
	*ret = (struct thin_amount){.value = bytes};
	return 0;
}

char *thin_amount_text(const struct thin_amount *a, char buf[static THIN_SIZE_TEXT])
{
	if (!a->percent)
		return thin_size_exact(a->value, buf);
	snprintf(buf, THIN_SIZE_TEXT, "%" PRIu64 "%%", a->value);
	return buf;
}

uint64_t thin_amount_bytes(const struct thin_amount *a, uint64_t total_bytes)
{
	if (!a->percent)
		return a->value;
	return total_bytes / 100 * a->value + total_bytes % 100 * a->value / 100;
}
