/* SPDX-License-Identifier: MIT
 *
 * One small ring per thread, of which only the newest record matters (faults.h).
 */
#include "faults.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util.h"

#define PAGE 4096u
#define DATA PAGE

struct faults {
	int fd;
	struct perf_event_mmap_page *page; /* followed by the data */
};

struct faults *faults_open(pid_t tid)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof attr,
		.config = PERF_COUNT_SW_PAGE_FAULTS_MAJ,
		.sample_period = 1,
		.sample_type = PERF_SAMPLE_ADDR,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};
	int fd = (int)syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		return NULL;
	void *at = mmap(NULL, PAGE + DATA, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED) {
		int error = errno;
		close(fd);
		errno = error;
		return NULL;
	}
	struct faults *f = xcalloc(1, sizeof *f);
	*f = (struct faults){fd, at};
	return f;
}

void faults_close(struct faults *f)
{
	if (!f)
		return;
	munmap(f->page, PAGE + DATA);
	close(f->fd);
	free(f);
}

static void ring_copy(const struct faults *f, uint64_t from, void *to, size_t n)
{
	const unsigned char *data = (const unsigned char *)f->page + PAGE;
	for (size_t i = 0; i < n; i++)
		((unsigned char *)to)[i] = data[(from + i) & (DATA - 1)];
}

uint64_t faults_latest(struct faults *f)
{
	uint64_t head = __atomic_load_n(&f->page->data_head, __ATOMIC_ACQUIRE), at = f->page->data_tail;
	uint64_t found = 0;
	while (at < head) {
		struct {
			struct perf_event_header header;
			uint64_t address;
		} record;
		ring_copy(f, at, &record.header, sizeof record.header);
		if (record.header.size < sizeof record.header || record.header.size > head - at)
			break;
		if (record.header.type == PERF_RECORD_SAMPLE && record.header.size >= sizeof record) {
			ring_copy(f, at, &record, sizeof record);
			found = record.address;
		}
		at += record.header.size;
	}
	__atomic_store_n(&f->page->data_tail, head, __ATOMIC_RELEASE);
	return found;
}
