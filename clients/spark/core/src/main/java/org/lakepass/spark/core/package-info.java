/**
 * Gets session keys from a Lakepass broker and keeps them fresh.
 *
 * <p>Read it in this order: {@link org.lakepass.spark.core.Settings} (what is configured),
 * {@link org.lakepass.spark.core.BrokerClient} (one question to the broker),
 * {@link org.lakepass.spark.core.Refresher} (the thread that asks again and again),
 * {@link org.lakepass.spark.core.SharedKeys} (who shares a thread with whom).
 *
 * <p>Nothing here knows Hadoop or an AWS SDK, and nothing here logs a secret: tokens and keys are in types whose
 * {@code toString} hides them, and messages of libraries that could quote an answer's body are dropped.
 */
package org.lakepass.spark.core;
