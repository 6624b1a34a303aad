/* Waits for a signal and, if nobody answers it, ends the process.
 *
 * Python code cannot run while a library holds the interpreter's lock, and libraries can hold it for ever: HDF5 does
 * when it reads a global heap of zeros. So the waiting is done here, and so is the last resort: once a signal has come,
 * a thread that needs no lock ends the process, unless Python answers in time (signals.py).
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static atomic_int answered;
static int received;
static unsigned patience;

static void *end_unless_answered(void *unused)
{
    (void)unused;
    for (unsigned left = patience; left;)
        left = sleep(left);
    if (!atomic_load(&answered))
        _exit(128 + received);
    return NULL;
}

/* Waits for one of the signals; the calling thread and all others have blocked them. Returns its number, and starts the
 * countdown of so many seconds if it is not zero. Returns minus one if it cannot wait. */
int wait_for_signal(const int *numbers, int n_numbers, int seconds)
{
    sigset_t set;
    pthread_t thread;
    int number;

    sigemptyset(&set);
    for (int i = 0; i < n_numbers; i++)
        sigaddset(&set, numbers[i]);
    if (sigwait(&set, &number) != 0)
        return -1;
    if (seconds > 0) {
        received = number;
        patience = (unsigned)seconds;
        atomic_store(&answered, 0);
        if (pthread_create(&thread, NULL, end_unless_answered, NULL) == 0)
            pthread_detach(thread);
    }
    return number;
}

/* Stops the countdown: Python has taken over. */
void answer(void) { atomic_store(&answered, 1); }
