// SPDX-License-Identifier: MIT
//
// An epoll loop that waits for each of C++'s locks, one stall after the other, and prints as JSON lines what
// kind of lock that is, which thread has it (null: nobody) and which function is to blame.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <pthread.h>
#include <shared_mutex>
#include <sys/epoll.h>
#include <thread>

using namespace std::chrono_literals;

static std::atomic<bool> taken;

template <class Lock> __attribute__((noinline)) static void hold(Lock &lock)
{
	lock.lock();
	taken = true;
	std::this_thread::sleep_for(60ms);
	lock.unlock();
}

__attribute__((noinline)) static void read_long(std::shared_mutex &lock)
{
	lock.lock_shared();
	taken = true;
	std::this_thread::sleep_for(60ms);
	lock.unlock_shared();
}

template <class Work> static std::thread start(const char *name, Work work)
{
	taken = false;
	std::thread thread([=] {
		pthread_setname_np(pthread_self(), name);
		work();
	});
	while (!taken)
		std::this_thread::sleep_for(100us);
	return thread;
}

static int epoll;

static void turn()
{
	epoll_event event;
	for (int i = 0; i < 5; i++)
		epoll_wait(epoll, &event, 1, 5);
}

template <class Lock> __attribute__((noinline)) static void contend(const char *kind, const char *function)
{
	Lock lock;
	std::thread holder = start("holder", [&] { hold(lock); });
	lock.lock();
	lock.unlock();
	turn();
	holder.join();
	printf("[\"%s\", \"holder\", \"%s\"]\n", kind, function);
}

__attribute__((noinline)) static void contend_readers()
{
	std::shared_mutex lock;
	std::thread holder = start("reader", [&] { read_long(lock); });
	lock.lock();
	lock.unlock();
	turn();
	holder.join();
	puts("[\"rwlock\", \"reader\", \"read_long\"]");
}

__attribute__((noinline)) static void wait_signal()
{
	std::mutex lock;
	std::condition_variable changed;
	bool done = false;
	std::thread other = start("other", [&] {
		taken = true;
		std::this_thread::sleep_for(60ms);
		std::lock_guard<std::mutex> guard(lock);
		done = true;
		changed.notify_one();
	});
	{
		std::unique_lock<std::mutex> guard(lock);
		changed.wait(guard, [&] { return done; });
	}
	turn();
	other.join();
	puts("[\"cond\", null, \"wait_signal\"]");
}

int main()
{
	epoll = epoll_create1(0);
	turn();
	contend<std::mutex>("mutex", "hold");
	contend<std::recursive_mutex>("mutex", "hold");
	contend<std::timed_mutex>("mutex", "hold");
	contend<std::shared_mutex>("rwlock", "hold");
	contend_readers();
	wait_signal();
}
