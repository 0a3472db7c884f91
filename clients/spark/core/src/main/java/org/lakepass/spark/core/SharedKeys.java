package org.lakepass.spark.core;

import java.io.Closeable;
import java.lang.ref.Reference;
import java.time.Clock;
import java.time.Duration;
import java.util.Collections;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.WeakHashMap;

/**
 * Who shares a thread with whom: all providers of a JVM with equal settings use one {@link Refresher}. It starts with the
 * first of them, and ends with the last: at once if that one is closed, within a poll interval if it is garbage (Spark
 * does not close every filesystem that it opens).
 */
public final class SharedKeys {
  private static final SharedKeys OF_THIS_JVM = new SharedKeys(Clock.systemUTC(), Refresher.PATIENCE);

  private final Clock clock;
  private final Duration patience;
  /** Guarded by the monitor, as are the shares' leases. */
  private final Map<Settings, Share> shares = new HashMap<>();

  SharedKeys(Clock clock, Duration patience) {
    this.clock = clock;
    this.patience = patience;
  }

  /** A lease on keys for these settings. Returns at once; nothing is asked of the broker before the first {@link Lease#keys}. */
  public static Lease lease(Settings settings) {
    return OF_THIS_JVM.newLease(settings);
  }

  Lease newLease(Settings settings) {
    return new Lease(this, settings);
  }

  /** Keys for as long as they are needed. To be closed; what is forgotten and collected is closed too. */
  public static final class Lease implements Closeable {
    private final SharedKeys owner;
    private final Settings settings;
    private volatile Refresher refresher;
    private boolean closed;

    private Lease(SharedKeys owner, Settings settings) {
      this.owner = owner;
      this.settings = settings;
    }

    /**
     * Keys that are valid now. From memory, but for the first time and when the broker was away until they ended: then
     * it waits, for half a minute at most.
     *
     * @throws LakepassException if there are none
     */
    public SessionKeys keys() throws LakepassException {
      try {
        Refresher inUse = refresher;
        return (inUse != null ? inUse : owner.join(this)).keys();
      } finally {
        // Not garbage while somebody waits on it: the thread would end and leave them waiting.
        Reference.reachabilityFence(this);
      }
    }

    @Override
    public void close() {
      owner.leave(this);
    }

    @Override
    public String toString() {
      return "Lakepass keys from " + settings;
    }
  }

  private static final class Share {
    final Set<Lease> leases = Collections.newSetFromMap(new WeakHashMap<>());
    Refresher refresher;
  }

  private synchronized Refresher join(Lease lease) throws LakepassException {
    if (lease.closed) {
      throw LakepassException.refused("The Lakepass credentials provider is closed.");
    }
    if (lease.refresher == null) {
      Share share = shares.computeIfAbsent(lease.settings, this::newShare);
      share.leases.add(lease);
      lease.refresher = share.refresher;
    }
    return lease.refresher;
  }

  private Share newShare(Settings settings) {
    Share share = new Share();
    share.refresher =
        new Refresher(settings, new BrokerClient(settings), clock, patience, () -> retireIfUnused(settings, share));
    share.refresher.start();
    return share;
  }

  private synchronized void leave(Lease lease) {
    lease.closed = true;
    lease.refresher = null;
    Share share = shares.get(lease.settings);
    if (share != null && share.leases.remove(lease) && share.leases.isEmpty()) {
      shares.remove(lease.settings);
      share.refresher.end();
    }
  }

  /** @return whether somebody still uses the share */
  private synchronized boolean retireIfUnused(Settings settings, Share share) {
    if (share.leases.isEmpty()) {
      shares.remove(settings, share);
      return false;
    }
    return true;
  }
}
