package org.lakepass.spark;

import com.amazonaws.auth.AWSCredentials;
import com.amazonaws.auth.AWSCredentialsProvider;
import com.amazonaws.auth.BasicSessionCredentials;
import java.io.Closeable;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.s3a.CredentialInitializationException;
import org.lakepass.spark.core.LakepassException;
import org.lakepass.spark.core.SessionKeys;
import org.lakepass.spark.core.Settings;
import org.lakepass.spark.core.SharedKeys;

/**
 * Session keys from a Lakepass broker, for S3A of Hadoop 3.3 (AWS SDK v1).
 *
 * <p>Put the name of this class into {@code fs.s3a.aws.credentials.provider}, the broker's address into
 * {@code fs.s3a.lakepass.url}, and say where your token is: {@code fs.s3a.lakepass.token.file}. Safe for use by many
 * threads. Providers with equal settings share their keys and one background thread.
 */
public final class LakepassCredentialsProvider implements AWSCredentialsProvider, Closeable {
  private final SharedKeys.Lease lease;

  /**
   * As S3A makes it. Nothing is asked of the broker yet.
   *
   * @param filesystem {@code s3a://BUCKET/…}: whose settings go before the general ones; may be {@code null}
   * @param configuration Hadoop's
   * @throws IllegalArgumentException if a setting is missing or makes no sense; the message says what to write
   */
  public LakepassCredentialsProvider(URI filesystem, Configuration configuration) {
    String bucket = filesystem == null ? null : filesystem.getAuthority();
    lease = SharedKeys.lease(Settings.read(bucket, configuration::getTrimmed, name -> secret(configuration, name)));
  }

  /**
   * The keys of this moment, from memory. Only the first call, and one after the broker was away until the keys ended,
   * waits for the broker: half a minute at most.
   *
   * @throws CredentialInitializationException if there are no keys; S3A does not retry it. The message says why and what to do
   */
  @Override
  public AWSCredentials getCredentials() {
    try {
      SessionKeys keys = lease.keys();
      return new BasicSessionCredentials(keys.accessKeyId(), keys.secretAccessKey(), keys.sessionToken());
    } catch (LakepassException e) {
      throw new CredentialInitializationException(e.getMessage(), e);
    }
  }

  /** Does nothing: the keys in hand are always the newest. */
  @Override
  public void refresh() {}

  /** Ends the background thread if nobody else uses it. */
  @Override
  public void close() {
    lease.close();
  }

  @Override
  public String toString() {
    return "LakepassCredentialsProvider[" + lease + "]";
  }

  /** From a Hadoop credential store if one is configured, else from the configuration. */
  private static String secret(Configuration configuration, String name) {
    try {
      char[] value = configuration.getPassword(name);
      return value == null ? null : new String(value);
    } catch (IOException e) {
      throw new UncheckedIOException("Cannot look for " + name + " in the Hadoop credential store", e);
    }
  }
}
