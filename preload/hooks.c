/* SPDX-License-Identifier: MIT
 *
 * Expands hooks.def into the exported wrappers: one macro per class, each the same three steps (begin, the
 * original, end). The fast paths are here, so that an uncontended lock costs one load and one jump. LIFE is
 * written by hand (life.c, exec.c).
 */
#include <errno.h>

#include "lock.h"
#include "loop.h"
#include "original.h"

#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized" /* poll's argument is declared as only written to */
#endif

#define EXPORT __attribute__((visibility("default")))

#define WRAP_MUTEX_LOCK(ret, name, params, args, object)          \
	static __attribute__((noinline)) ret slow_##name params   \
	{                                                         \
		struct wait w;                                    \
		mutex_wait_begin(&w, object, HOOK_##name, FRAME); \
		ret result = original.name args;                  \
		mutex_wait_end(&w, object, result);               \
		return result;                                    \
	}                                                         \
	EXPORT ret name params                                    \
	{                                                         \
		if (likely(!mutex_taken(object)))                 \
			return original.name args;                \
		return slow_##name args;                          \
	}
#define WRAP_MUTEX_TRY(ret, name, params, args, object) \
	EXPORT ret name params                          \
	{                                               \
		return original.name args;              \
	}
#define WRAP_MUTEX_UNLOCK(ret, name, params, args, object)      \
	static __attribute__((noinline)) ret slow_##name params \
	{                                                       \
		struct wait w;                                  \
		mutex_free_begin(&w, object, HOOK_##name);      \
		ret result = original.name args;                \
		mutex_free_end(&w, result);                     \
		return result;                                  \
	}                                                       \
	EXPORT ret name params                                  \
	{                                                       \
		if (likely(!mutex_wanted(object)))              \
			return original.name args;              \
		return slow_##name args;                        \
	}
#define WRAP_COND_WAIT(ret, name, params, args, object)             \
	EXPORT ret name params                                      \
	{                                                           \
		struct wait w;                                      \
		cond_wait_begin(&w, object, m, HOOK_##name, FRAME); \
		ret result = original.name args;                    \
		cond_wait_end(&w);                                  \
		return result;                                      \
	}
#define WRAP_COND_SIGNAL(ret, name, params, args, object)           \
	EXPORT ret name params                                      \
	{                                                           \
		if (unlikely(lock_watched((uintptr_t)object) >= 0)) \
			cond_signal(object, HOOK_##name);           \
		return original.name args;                          \
	}
#define WRAP_C11_LOCK(ret, name, params, args, object)                                    \
	static __attribute__((noinline)) ret slow_##name params                           \
	{                                                                                 \
		struct wait w;                                                            \
		mutex_wait_begin(&w, (pthread_mutex_t *)(object), HOOK_##name, FRAME);    \
		ret result = original.name args;                                          \
		mutex_wait_end(&w, (pthread_mutex_t *)(object), result);                  \
		return result;                                                            \
	}                                                                                 \
	EXPORT ret name params                                                            \
	{                                                                                 \
		if (likely(!shim.c11 || !mutex_taken((const pthread_mutex_t *)(object)))) \
			return original.name args;                                        \
		return slow_##name args;                                                  \
	}
#define WRAP_C11_UNLOCK(ret, name, params, args, object)                                   \
	static __attribute__((noinline)) ret slow_##name params                            \
	{                                                                                  \
		struct wait w;                                                             \
		mutex_free_begin(&w, (pthread_mutex_t *)(object), HOOK_##name);            \
		ret result = original.name args;                                           \
		mutex_free_end(&w, result);                                                \
		return result;                                                             \
	}                                                                                  \
	EXPORT ret name params                                                             \
	{                                                                                  \
		if (likely(!shim.c11 || !mutex_wanted((const pthread_mutex_t *)(object)))) \
			return original.name args;                                         \
		return slow_##name args;                                                   \
	}
#define WRAP_C11_WAIT(ret, name, params, args, object)                                                     \
	EXPORT ret name params                                                                             \
	{                                                                                                  \
		struct wait w;                                                                             \
		if (!shim.c11)                                                                             \
			return original.name args;                                                         \
		cond_wait_begin(&w, (pthread_cond_t *)(object), (pthread_mutex_t *)m, HOOK_##name, FRAME); \
		ret result = original.name args;                                                           \
		cond_wait_end(&w);                                                                         \
		return result;                                                                             \
	}
#define WRAP_RW_READ(ret, name, params, args, object)              \
	static __attribute__((noinline)) ret slow_##name params    \
	{                                                          \
		struct wait w;                                     \
		rwlock_wait_begin(&w, object, HOOK_##name, FRAME); \
		ret result = original.name args;                   \
		rwlock_wait_end(&w, object, result, true);         \
		return result;                                     \
	}                                                          \
	EXPORT ret name params                                     \
	{                                                          \
		if (unlikely(rwlock_closed(object)))               \
			return slow_##name args;                   \
		ret result = original.name args;                   \
		if (likely(result == 0))                           \
			held_add((uintptr_t)object);               \
		return result;                                     \
	}
#define WRAP_RW_TRY_READ(ret, name, params, args, object) \
	EXPORT ret name params                            \
	{                                                 \
		ret result = original.name args;          \
		if (result == 0)                          \
			held_add((uintptr_t)object);      \
		return result;                            \
	}
#define WRAP_RW_WRITE(ret, name, params, args, object)             \
	static __attribute__((noinline)) ret slow_##name params    \
	{                                                          \
		struct wait w;                                     \
		rwlock_wait_begin(&w, object, HOOK_##name, FRAME); \
		ret result = original.name args;                   \
		rwlock_wait_end(&w, object, result, false);        \
		return result;                                     \
	}                                                          \
	EXPORT ret name params                                     \
	{                                                          \
		if (likely(!rwlock_taken(object)))                 \
			return original.name args;                 \
		return slow_##name args;                           \
	}
#define WRAP_FREE(ret, name, params, args, begin)               \
	static __attribute__((noinline)) ret slow_##name params \
	{                                                       \
		struct wait w;                                  \
		begin;                                          \
		ret result = original.name args;                \
		mutex_free_end(&w, result);                     \
		return result;                                  \
	}
#define WRAP_RW_UNLOCK(ret, name, params, args, object)                                \
	WRAP_FREE(ret, name, params, args, rwlock_free_begin(&w, object, HOOK_##name)) \
	EXPORT ret name params                                                         \
	{                                                                              \
		if (likely(!self.held && !rwlock_wanted(object)))                      \
			return original.name args;                                     \
		return slow_##name args;                                               \
	}
#define WRAP_SPIN_LOCK(ret, name, params, args, object)          \
	static __attribute__((noinline)) ret slow_##name params  \
	{                                                        \
		struct wait w;                                   \
		spin_wait_begin(&w, object, HOOK_##name, FRAME); \
		ret result = original.name args;                 \
		spin_wait_end(&w, object, result);               \
		return result;                                   \
	}                                                        \
	EXPORT ret name params                                   \
	{                                                        \
		if (unlikely(relaxed(*(object)) <= 0))           \
			return slow_##name args;                 \
		ret result = original.name args;                 \
		if (likely(result == 0))                         \
			held_add((uintptr_t)object);             \
		return result;                                   \
	}
#define WRAP_SPIN_TRY WRAP_RW_TRY_READ
#define WRAP_SPIN_UNLOCK(ret, name, params, args, object)                            \
	WRAP_FREE(ret, name, params, args, spin_free_begin(&w, object, HOOK_##name)) \
	EXPORT ret name params                                                       \
	{                                                                            \
		if (likely(!self.held && relaxed(*(object)) >= 0))                   \
			return original.name args;                                   \
		return slow_##name args;                                             \
	}
#define WRAP_IDLE(ret, name, params, args, begin)               \
	static __attribute__((noinline)) ret slow_##name params \
	{                                                       \
		struct wait w;                                  \
		begin;                                          \
		ret result = original.name args;                \
		idle_wait_end(&w);                              \
		return result;                                  \
	}                                                       \
	EXPORT ret name params                                  \
	{                                                       \
		if (likely(!self.loop))                         \
			return original.name args;              \
		return slow_##name args;                        \
	}
#define WRAP_JOIN(ret, name, params, args, object) \
	WRAP_IDLE(ret, name, params, args, join_wait_begin(&w, object, HOOK_##name, FRAME))
#define WRAP_BARRIER(ret, name, params, args, object) \
	WRAP_IDLE(ret, name, params, args, barrier_wait_begin(&w, object, HOOK_##name, FRAME))
#define WRAP_SEM_WAIT(ret, name, params, args, object)          \
	EXPORT ret name params                                  \
	{                                                       \
		struct wait w;                                  \
		sem_wait_begin(&w, object, HOOK_##name, FRAME); \
		ret result = original.name args;                \
		sem_wait_end(&w, object, result);               \
		return result;                                  \
	}
#define WRAP_SEM_TRY(ret, name, params, args, object) \
	EXPORT ret name params                        \
	{                                             \
		ret result = original.name args;      \
		if (result == 0)                      \
			sem_take(object);             \
		return result;                        \
	}
#define WRAP_SEM_POST(ret, name, params, args, object) \
	EXPORT ret name params                         \
	{                                              \
		sem_free(object, HOOK_##name);         \
		return original.name args;             \
	}
#define WRAP_SEM_GONE(ret, name, params, args, object) \
	EXPORT ret name params                         \
	{                                              \
		sem_gone(object);                      \
		return original.name args;             \
	}
#define WRAP_READY(ret, name, params, args, begin)                        \
	EXPORT ret name params                                            \
	{                                                                 \
		struct call call;                                         \
		begin;                                                    \
		ret result = original.name args;                          \
		if (call.self)                                            \
			ready_end(&call, result, result < 0 ? errno : 0); \
		return result;                                            \
	}
#define WRAP_READY_EPOLL(ret, name, params, args, object) \
	WRAP_READY(ret, name, params, args, ready_epoll(&call, fd, timeout_ms(ms), HOOK_##name, FRAME))
#define WRAP_READY_EPOLL2(ret, name, params, args, object) \
	WRAP_READY(ret, name, params, args, ready_epoll(&call, fd, timeout_timespec(t), HOOK_##name, FRAME))
#define WRAP_READY_POLL(ret, name, params, args, object) \
	WRAP_READY(ret, name, params, args, ready_poll(&call, p, n, timeout_ms(ms), HOOK_##name, FRAME))
#define WRAP_READY_PPOLL(ret, name, params, args, object) \
	WRAP_READY(ret, name, params, args, ready_poll(&call, p, n, timeout_timespec(t), HOOK_##name, FRAME))
#define WRAP_READY_URING(ret, name, params, args, object) /* uring.c */
#define SETS ((fd_set *const[3]){r, w, e})
#define WRAP_READY_SELECT(ret, name, params, args, object) \
	WRAP_READY(ret, name, params, args,                \
		   ready_select(&call, n, SETS, timeout_timeval(t), HOOK_##name, FRAME))
#define WRAP_READY_PSELECT(ret, name, params, args, object) \
	WRAP_READY(ret, name, params, args,                 \
		   ready_select(&call, n, SETS, timeout_timespec(t), HOOK_##name, FRAME))
#define WRAP_CALL(ret, name, params, args, object)                         \
	static __attribute__((noinline)) ret slow_##name params            \
	{                                                                  \
		struct call call;                                          \
		call_begin(&call, (uint64_t)(object), HOOK_##name, FRAME); \
		ret result = original.name args;                           \
		call_end(&call);                                           \
		return result;                                             \
	}                                                                  \
	EXPORT ret name params                                             \
	{                                                                  \
		if (likely(!self.loop))                                    \
			return original.name args;                         \
		return slow_##name args;                                   \
	}
#define WRAP_NAME WRAP_CALL
#define WRAP_FUTEX(ret, name, params, args, object) /* futex.c */
#define WRAP_LIFE(ret, name, params, args, object)

#define HOOK(class, ret, name, params, args, object, kernel) WRAP_##class(ret, name, params, args, object)
#include "record/hooks.def"
